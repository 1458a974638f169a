"""Reads a folder of headset pictures and its file of cameras.

```
FOLDER/
  VIEW/FRAME.png     a folder for each view; the same frames in each
  cameras.json       optional
```
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lipflow_kit.cameras import shrink_intrinsics
from lipflow_kit.lenses import undistort
from lipflow_kit.png_files import read_header, read_picture
from lipflow_kit.resampling import shrink
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from lipflow_core.errors import CaptureError, UsageError

CAMERAS = "cameras.json"
ASPECT = 0.02
"""Largest relative difference between the aspect ratios of a picture and of the model's pictures."""

_Row3 = tuple[float, float, float]
_Row4 = tuple[float, float, float, float]


class CameraFile(BaseModel):
    """One view's camera in `cameras.json`."""

    model_config = ConfigDict(extra="forbid", allow_inf_nan=False)

    size: tuple[int, int]
    """Height and width in pixels of the pictures that it was calibrated for."""
    intrinsics: tuple[_Row3, _Row3, _Row3]
    """K, pixels; pixel centres lie at integers."""
    extrinsics: tuple[_Row4, _Row4, _Row4]
    """[R|t], head frame → camera, OpenCV axes (x right, y down, z forward), millimetres."""
    distortion: tuple[float, ...] = Field(default=(0, 0, 0, 0, 0), min_length=5, max_length=5)
    """k1 k2 p1 p2 k3 of OpenCV's model; pictures are straightened."""

    @model_validator(mode="after")
    def _check(self) -> CameraFile:
        rotation = np.array(self.extrinsics)[:, :3]
        if np.abs(rotation @ rotation.T - np.eye(3)).max() > 1e-3 or np.linalg.det(rotation) < 0:
            raise ValueError("the first three columns of extrinsics are no rotation")
        if not (self.intrinsics[0][0] > 0 and self.intrinsics[1][1] > 0 and self.intrinsics[2] == (0, 0, 1)):
            raise ValueError("intrinsics is not [[fx, s, cx], [0, fy, cy], [0, 0, 1]] with positive focal lengths")
        return self


@dataclass(frozen=True)
class PictureFolder:
    """The pictures of a folder, as a model sees them.

    Args:
        views: Names of the views' folders, in the model's order.
        frames: Names of the frames, sorted; each has a picture in every view.
        found: (height, width) of each view's pictures on disk.
        size: (height, width) that they are brought to.
        channels: 1 for grey pictures, 3 for colour.
        cameras: View → its camera; None without a file of cameras.
        files: View → frame → its file, whose name ends in ".png" in any case.
    """

    views: tuple[str, ...]
    frames: tuple[str, ...]
    found: tuple[tuple[int, int], ...]
    size: tuple[int, int]
    channels: int
    cameras: Mapping[str, CameraFile] | None
    files: Mapping[str, Mapping[str, Path]]

    def images(self, frames: Sequence[str]) -> np.ndarray:
        """Read pictures, straightened and area-filtered to the model's size: (B, N, C, H, W) float32 in [0, 1].

        Raises:
            lipflow_core.errors.CaptureError: If a picture is damaged, or of another size than its view's first one.
        """
        made = np.empty((len(frames), len(self.views), self.channels, *self.size), np.float32)
        for row, frame in enumerate(frames):
            for column, view in enumerate(self.views):
                path = self.files[view][frame]
                picture = read_picture(path, self.channels)
                if picture.shape[:2] != self.found[column]:
                    raise CaptureError(
                        f"{path} has {_by(picture.shape[:2])} pixels, the first picture of its view "
                        f"{_by(self.found[column])}",
                        "Bring all pictures of a view to one size.",
                    )
                if self.cameras is not None and any(self.cameras[view].distortion):
                    camera = self.cameras[view]
                    picture = undistort(picture, np.array(camera.intrinsics), np.array(camera.distortion))
                made[row, column] = np.moveaxis(shrink(picture, self.size), -1, 0) / 255
        return made.clip(0, 1)

    def calibration(self) -> tuple[np.ndarray, np.ndarray] | None:
        """Give the cameras at the model's size: intrinsics (N, 3, 3) and extrinsics (N, 3, 4); None without a file."""
        if self.cameras is None:
            return None
        cameras = [self.cameras[view] for view in self.views]
        intrinsics = [shrink_intrinsics(np.array(camera.intrinsics), camera.size, self.size) for camera in cameras]
        return np.stack(intrinsics), np.array([camera.extrinsics for camera in cameras])


def open_pictures(folder: Path, views: Sequence[str], shape: tuple[int, int, int, int]) -> PictureFolder:
    """Find the pictures of a folder and check their names and sizes before any is decoded.

    Args:
        folder: The folder.
        views: Names of the views' folders, in the model's order.
        shape: (views, channels, height, width) of the pictures that the model is made for.

    Raises:
        lipflow_core.errors.UsageError: If the number of views is not the model's.
        lipflow_core.errors.CaptureError: If a view or a frame is missing, a picture is too small or of another shape,
            or the file of cameras is damaged.
    """
    count, channels, *size = shape
    if len(views) != count:
        raise UsageError(
            f"{len(views)} views are named, {', '.join(views)}, but the model sees {count} pictures of each frame",
            "Name the folders of the views in the model's order with --views.",
        )
    if not folder.is_dir():
        raise CaptureError(f"{folder} is no folder", "Give a folder with a folder of PNG pictures for each view.")
    files = {view: _files(folder, view) for view in views}
    first, found = views[0], []
    for view in views:
        if odd := sorted(files[first].keys() ^ files[view].keys()):
            lacking = view if odd[0] in files[first] else first
            raise CaptureError(
                f"{folder / lacking} has no picture {odd[0]}.png, which another view has",
                "Each frame needs a picture in every view; leave it out of the others, or add it.",
            )
        found.append(_fitting_size(next(iter(files[view].values())), (size[0], size[1])))
    cameras = _cameras(folder / CAMERAS, views, found)
    frames, brought = tuple(files[first]), (size[0], size[1])
    return PictureFolder(tuple(views), frames, tuple(found), brought, channels, cameras, files)


def _files(folder: Path, view: str) -> dict[str, Path]:
    """List a view's pictures by frame, sorted."""
    place = folder / view
    if not place.is_dir():
        there = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "none"
        raise CaptureError(
            f"{folder} has no folder '{view}' of pictures; its folders: {there}",
            "Name the folders of the views in the model's order with --views.",
        )
    files: dict[str, Path] = {}
    for path in sorted(place.iterdir(), key=lambda path: path.stem):
        if path.suffix.lower() == ".png" and files.setdefault(path.stem, path) != path:
            raise CaptureError(
                f"{place} has two pictures of frame {path.stem}: {files[path.stem].name} and {path.name}",
                "Remove one of them.",
            )
    if not files:
        raise CaptureError(f"{place} has no PNG pictures", "Other formats are not read; convert them.")
    return files


def _fitting_size(path: Path, wanted: tuple[int, int]) -> tuple[int, int]:
    """Read a picture's size; an error if it can't be brought to the wanted one by averaging alone."""
    height, width = read_header(path).size
    if height < wanted[0] or width < wanted[1]:
        raise CaptureError(
            f"{path} has {_by((height, width))} pixels, fewer than the {_by(wanted)} that the model sees",
            "Record larger pictures, or train a model for smaller ones; enlarged pictures look like none it has seen.",
        )
    if abs(width / height * wanted[0] / wanted[1] - 1) > ASPECT:
        raise CaptureError(
            f"{path} has {_by((height, width))} pixels, whose shape differs from the {_by(wanted)} that the model sees",
            f"Crop the pictures to the ratio {wanted[0]}:{wanted[1]}, and their cameras' principal points with them.",
        )
    return height, width


def _cameras(path: Path, views: Sequence[str], found: Sequence[tuple[int, int]]) -> dict[str, CameraFile] | None:
    if not path.exists():
        return None
    try:
        content = json.loads(path.read_bytes())
        if not isinstance(content, dict):
            raise ValueError("it holds no mapping of views")
        if missing := [view for view in views if view not in content]:
            raise ValueError(f"it has no camera '{missing[0]}'; it has {', '.join(content) or 'none'}")
        cameras = {view: CameraFile.model_validate(content[view]) for view in views}
    except ValidationError as error:
        fault = error.errors()[0]
        where = ".".join(map(str, fault["loc"]))
        raise CaptureError(f"{path} can't be used: {where + ': ' if where else ''}{fault['msg']}") from error
    except (OSError, ValueError, RecursionError) as error:
        raise CaptureError(f"{path} can't be used: {error}") from error
    for view, size in zip(views, found, strict=True):
        if cameras[view].size != size:
            raise CaptureError(
                f"{path}: camera '{view}' is calibrated for {_by(cameras[view].size)} pixels, but its pictures have "
                f"{_by(size)}",
                "Give the calibration of these pictures.",
            )
    return cameras


def _by(size: Sequence[int]) -> str:
    return f"{size[0]}×{size[1]}"
