"""What is on disk of single frames, one file at a time."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from lipflow_kit.pictures import (
    correct_colour,
    largest_distortion,
    read_picture,
    shrink,
    shrink_intrinsics,
    to_bytes,
    undistort,
)

from lipflow_core.errors import CaptureError
from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.krt import rotation_problem
from lipflow_multiface.layout import AVERAGE, CaptureFolder
from lipflow_multiface.meshes import read_transform, read_vertices
from lipflow_multiface.survey import NEGLIGIBLE, Survey, read_truth

SEGMENTS_KEPT = 8


@dataclass(frozen=True)
class Rig:
    """The dome's cameras as pictures are read.

    Args:
        intrinsics: (C, 3, 3) pixels, float64.
        extrinsics: (C, 3, 4) world → camera, float64.
        bent: (C,) whether the lens distortion has to be removed.
    """

    intrinsics: np.ndarray
    extrinsics: np.ndarray
    bent: np.ndarray


class FrameReader:
    """Reads what is on disk of single frames.

    Args:
        config: The capture's options.
        found: What its files say.
    """

    def __init__(self, config: MultifaceConfig, found: Survey):
        self.config = config
        self.found = found
        self.folder = CaptureFolder(config.path)
        intrinsics = np.stack([camera.intrinsics for camera in found.cameras])
        moved = [largest_distortion(c.intrinsics, c.distortion, found.disk_image) for c in found.cameras]
        scale = max(found.image) / max(found.disk_image)
        self.rig = Rig(
            shrink_intrinsics(intrinsics, found.disk_image, found.image),
            np.stack([camera.extrinsics for camera in found.cameras]),
            (np.array(moved) * scale > NEGLIGIBLE) & (config.distortion == "undistort"),
        )
        self.truth = functools.lru_cache(maxsize=SEGMENTS_KEPT)(self._truth)

    def vertices(self, segment: str, number: int) -> np.ndarray:
        """(V, 3) float32 millimetres, head frame."""
        return read_vertices(self.folder.vertices(segment, number), self.found.vertices)

    def pose(self, segment: str, number: int) -> np.ndarray:
        """(3, 4) head → world. Raises a CaptureError if its rotation is none."""
        path = self.folder.transform(segment, number)
        pose = read_transform(path)
        if problem := rotation_problem(pose[:, :3]):
            raise CaptureError(f"{path}: the rotation {problem}")
        return pose

    def picture(self, segment: str, camera: int, number: int) -> np.ndarray:
        """(3, h, w) uint8 of a camera in use, as losses see it: straight, in colour, at the size read."""
        calibrated = self.found.cameras[camera]
        path = self.folder.picture(segment, calibrated.name, number)
        picture = read_picture(path)
        if picture.shape[:2] != self.found.disk_image:
            height, width = self.found.disk_image
            raise CaptureError(
                f"{path} has {picture.shape[0]}×{picture.shape[1]} pixels, other pictures have {height}×{width}"
            )
        if self.rig.bent[camera]:
            picture = undistort(picture, calibrated.intrinsics, calibrated.distortion)
        return self._finish(picture, self.found.image, calibrated.name)

    def texture(self, segment: str, camera: str, number: int) -> np.ndarray:
        """(3, T, T) uint8, row 0 at v = 1, of a camera's name or "average"."""
        path = self.folder.texture(segment, camera, number)
        return self.finish_texture(read_picture(path), "*" if camera == AVERAGE else camera)

    def finish_texture(self, texture: np.ndarray, camera: str) -> np.ndarray:
        """A decoded texture (H, W, 3) as it is used: (3, T, T) uint8, row 0 at v = 1."""
        if self.config.texture_rows == "bottom-up":
            texture = texture[::-1]
        return self._finish(texture, (self.found.texture, self.found.texture), camera)

    def headset(self, segment: str, camera: str, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A recorded headset picture (1, h, w) and its mask (h, w), uint8."""
        picture = read_picture(self.folder.headset(segment, camera, number), channels=1)
        mask = read_picture(self.folder.headset_mask(segment, camera, number), channels=1)
        for path, values in ((self.folder.headset, picture), (self.folder.headset_mask, mask)):
            if values.shape[:2] != self.found.headset:
                height, width = self.found.headset
                name = path(segment, camera, number)
                raise CaptureError(f"{name} has {values.shape[0]}×{values.shape[1]} pixels, others {height}×{width}")
        return picture[None, ..., 0], mask[..., 0]

    def recorded(self, segment: str, number: int) -> dict[str, np.ndarray]:
        """Arrays that lie beside the capture, of one frame; empty if there are none."""
        arrays, rows = self.truth(segment)
        if number not in rows:
            return {}
        return {name: array[rows[number]] for name, array in arrays.items()}

    def _truth(self, segment: str) -> tuple[dict[str, np.ndarray], dict[int, int]]:
        path = self.folder.truth(segment)
        if not path.is_file():
            return {}, {}
        arrays = read_truth(path)
        return arrays, {number: row for row, number in enumerate(arrays.pop("numbers").tolist())}

    def _finish(self, picture: np.ndarray, size: tuple[int, int], camera: str) -> np.ndarray:
        colour = self.config.colour
        gain = colour.gain_of(camera)
        plain = gain == (1.0, 1.0, 1.0) and colour.gamma == 1
        if plain and picture.shape[:2] == size and picture.dtype == np.uint8:
            return rearrange(picture, "h w c -> c h w")
        picture = shrink(picture, size)
        return rearrange(to_bytes(picture if plain else correct_colour(picture, gain, colour.gamma)), "h w c -> c h w")


class Frames:
    """Some frames, their meshes and poses read on first use.

    Args:
        names: (segment, number) of each.
        reader: Reads them.
    """

    def __init__(self, names: list[tuple[str, int]], reader: FrameReader):
        self.names = names
        self._reader = reader

    @functools.cached_property
    def vertices(self) -> np.ndarray:
        vertices = [self._reader.vertices(segment, number) for segment, number in self.names]
        return stack(vertices, (self._reader.found.vertices, 3), np.float32)

    @functools.cached_property
    def poses(self) -> np.ndarray:
        return stack([self._reader.pose(segment, number) for segment, number in self.names], (3, 4), np.float64)

    def recorded(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = []
        for segment, number in self.names:
            told = self._reader.recorded(segment, number)
            if name not in told or told[name].shape != shape:
                path = self._reader.folder.truth(segment)
                raise CaptureError(f"{path} has no '{name}' of frame {number:06d}", "Write the capture again.")
            values.append(told[name])
        return stack(values, shape, np.float32)

    def recorded_or_none(self, name: str) -> np.ndarray | None:
        told = [self._reader.recorded(segment, number) for segment, number in self.names]
        return np.stack([values[name] for values in told]) if told and all(name in values for values in told) else None


def stack(arrays: list[np.ndarray], shape: tuple[int, ...], dtype: type = np.uint8) -> np.ndarray:
    """Arrays of one shape along a new first axis, of which there may be none."""
    return np.stack(arrays) if arrays else np.zeros((0, *shape), dtype)
