"""Writes any capture in Multiface's layout, and beside it what that layout has no place for."""

from __future__ import annotations

import json
import os
import re
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from lipflow_kit.cameras import compose, invert, nearest_rotation
from lipflow_kit.headset import HEADSET_NAMES
from lipflow_kit.packing import flat
from lipflow_kit.pictures import to_bytes, write_picture
from lipflow_kit.texels import TexelMap, unwrap

from lipflow_core.errors import CaptureError, StorageError
from lipflow_core.interfaces import Capture, FrameRequest, Renderer, Split
from lipflow_core.progress import Style, progress
from lipflow_core.records import Frame, Record, Template
from lipflow_core.storage import check_folder, refuse_links, storage_error, write_atomically
from lipflow_multiface.krt import KrtCamera, format_krt
from lipflow_multiface.layout import AVERAGE, HELD_OUT, CaptureFolder, is_held_out, read_about
from lipflow_multiface.meshes import Mesh, format_mesh_topology, format_mesh_vertices, format_transform

FORMAT = 1
FRAMES_AT_ONCE = 8
PIXELS_AT_ONCE = 1 << 24
"""Of dome pictures in memory as floats, unless a single frame has more."""

SPLITS = ("train", "held-out")
_STANDARD = ("face", "dome", "frontal", "headset", "keypoints")


@dataclass(frozen=True)
class Written:
    """What was written.

    Args:
        frames: Number of frames in the capture.
        segments: Number of segments.
        new: Number of frames written now; the others were there from a run that was interrupted.
    """

    frames: int
    segments: int
    new: int


def write_capture(
    capture: Capture,
    directory: str | os.PathLike[str],
    renderer: Renderer | None = None,
    *,
    workers: int = 2,
    style: Style = "auto",
) -> Written:
    """Write both splits of a capture as one folder in Multiface's layout.

    Segment by segment; a segment that is complete is not written again, so that an interrupted run is taken up where it
    stopped. frame_list.txt comes last: without it the capture is not complete. Held-out segments get names by which
    Multiface's rule (`layout.HELD_OUT`) knows them, if they have not such names already.

    Args:
        capture: What to write. It must observe "face" and "dome".
        directory: Where; a new or empty folder, or one with an earlier part of the same capture.
        renderer: Draws depth, for unwrapping each camera's texture; without one only average textures are written.
        workers: Threads, each of which writes segments.
        style: Of the progress.

    Raises:
        StorageError: If it can't be written, or another capture is in the way.
        CaptureError: If the capture lacks something that the layout needs.
    """
    folder = CaptureFolder(Path(directory))
    splits = {name: capture.split(name) for name in SPLITS}
    about = _about(capture, splits, textures=renderer is not None)
    _take_place(folder, about)
    template = capture.template()
    writer = _Writer(capture, folder, template, renderer, _observations(capture))
    try:
        cameras = writer.calibrate(splits["train"])
        folder.krt.write_text(format_krt(cameras), encoding="utf-8", newline="\n")
        _write_template(folder, template)
        named = [(split, *segment) for name, split in splits.items() for segment in _segments(name, split)]
        listed = [
            (segment, int(number))
            for split, segment, positions in named
            for number in np.asarray(split.numbers)[positions]
        ]
        missing = [task for task in named if not folder.truth(task[1]).is_file()]
        new = sum(len(positions) for _, _, positions in missing)
        with (
            progress(len(listed), f"write {folder.root.name}", "frame", style=style, initial=len(listed) - new) as bar,
            ThreadPoolExecutor(max(1, workers), thread_name_prefix="lipflow-write") as pool,
        ):
            try:
                for count in pool.map(lambda task: writer.write(*task), missing):
                    bar.advance(count)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        text = "".join(f"{segment} {number:06d}\n" for segment, number in listed)
        write_atomically(folder.frame_list, text)
        write_atomically(folder.about, json.dumps({**about, "complete": True}, indent=1) + "\n")
    except OSError as error:
        raise storage_error(folder.root, error) from error
    return Written(len(listed), len(named), new)


def _about(capture: Capture, splits: dict[str, Split], *, textures: bool) -> dict[str, Any]:
    from lipflow_core.version import __version__

    return {
        "format": FORMAT,
        "source": capture.identity,
        "written_by": f"lipflow-core {__version__}",
        "camera_textures": textures,
        "frames": {name: len(split) for name, split in splits.items()},
        "headset_cameras": list(HEADSET_NAMES),
        "complete": False,
    }


def _take_place(folder: CaptureFolder, about: dict[str, Any]) -> None:
    """Make the folder, or make sure that it holds an earlier part of the same capture."""
    check_folder(folder.root)
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        begun = any(folder.extras.iterdir()) if folder.extras.is_dir() else False
        if begun or any(path != folder.extras for path in folder.root.iterdir()):
            there = read_about(folder)
            same = ("format", "source", "camera_textures", "frames")
            if any(there.get(name) != about[name] for name in same):
                raise StorageError(
                    f"{folder.root} is not empty, and what it holds is not an earlier part of this capture",
                    "Write to another folder, or remove it.",
                )
            refuse_links(folder.root)
            return
        folder.extras.mkdir(exist_ok=True)
        write_atomically(folder.about, json.dumps(about, indent=1) + "\n")
    except OSError as error:
        raise storage_error(folder.root, error) from error


def _observations(capture: Capture) -> tuple[str, ...]:
    """Every observation that the capture plans."""
    names = dict.fromkeys(name.split(".")[0] for name in capture.planned.outputs)
    offered = tuple(name for name in names if name not in ("topology", "template"))
    for needed in ("face", "dome"):
        if needed not in offered:
            raise CaptureError(f"the capture has no '{needed}', which Multiface's layout needs")
    return offered


def _segments(split_name: str, split: Split) -> list[tuple[str, np.ndarray]]:
    """Name on disk and positions of each segment of a split."""
    members: dict[str, list[int]] = {}
    for position, segment in enumerate(split.segments):
        members.setdefault(segment, []).append(position)
    named = []
    for segment, positions in members.items():
        name = re.sub(r"[^\w.-]+", "_", segment)
        if (split_name == "held-out") != is_held_out(name):
            name = f"{HELD_OUT[0]}_{name}" if split_name == "held-out" else f"train_{name}"
        named.append((name, np.array(positions)))
    if len({name for name, _ in named}) < len(named):
        raise CaptureError("two segments of the capture would get the same name on disk", "Rename one of them.")
    return named


def _write_template(folder: CaptureFolder, template: Template) -> None:
    texture = rearrange(template.texture_mean, "c h w -> h w c").numpy()
    write_picture(folder.texture_mean, to_bytes(255 * texture))
    (folder.vertices_mean).write_bytes(template.vertices_mean.numpy().astype("<f4").tobytes())
    # As float64: squaring in float32 would lose what the root is to give back.
    folder.texture_variance.write_text(f"{(255 * float(template.texture_scale)) ** 2!r}\n", encoding="utf-8")
    folder.vertices_variance.write_text(f"{float(template.vertices_scale) ** 2!r}\n", encoding="utf-8")
    if template.landmarks.numel():
        text = json.dumps({"vertices": template.landmarks.tolist()}) + "\n"
        folder.landmarks.write_text(text, encoding="utf-8")


class _Writer:
    """Writes segments.

    Args:
        capture: Whose.
        folder: Where.
        template: The capture's.
        renderer: Draws depth; None to leave out each camera's texture.
        observations: What is loaded of each frame.
    """

    def __init__(
        self,
        capture: Capture,
        folder: CaptureFolder,
        template: Template,
        renderer: Renderer | None,
        observations: Sequence[str],
    ):
        self.folder = folder
        self.template = template
        self.renderer = renderer
        self.observations = tuple(observations)
        topology = template.topology
        self._faces = format_mesh_topology(
            Mesh(
                template.vertices_mean.numpy(),
                topology.uv.numpy(),
                topology.triangles.numpy(),
                topology.uv_triangles.numpy(),
            )
        )
        cameras, _, height, width = capture.planned.outputs["dome.images"]
        self._at_once = max(1, min(FRAMES_AT_ONCE, PIXELS_AT_ONCE // (cameras * height * width)))
        self._drawing = threading.Lock()
        self._texels = None if renderer is None else TexelMap(template.topology, template.texture_mean.shape[-1])

    def calibrate(self, split: Split) -> list[KrtCamera]:
        """Cameras in the world's frame: that of the capture's own poses if it tells them, else the first head's."""
        frame = self._load(split, np.arange(1))
        camera = frame["dome"].camera
        seen = _extrinsics(frame)[0]
        self._world = compose(seen, invert(_pose(frame)))[0] if _has_pose(frame) else seen
        intrinsics = camera.intrinsics[0].numpy().astype(np.float64)
        return [
            KrtCamera(name, intrinsics[index], np.zeros(5), self._world[index])
            for index, name in enumerate(split.cameras)
        ]

    def write(self, split: Split, segment: str, positions: np.ndarray) -> int:
        """Write a segment, its last file once all others are there; gives the number of its frames."""
        folder = self.folder
        folders = [folder.meshes / segment, folder.textures / segment / AVERAGE, folder.truth(segment).parent]
        folders += [folder.pictures / segment / camera for camera in split.cameras]
        if self.renderer is not None:
            folders += [folder.textures / segment / camera for camera in split.cameras]
        if "headset" in self.observations:
            folders += [folder.headset(segment, camera, 0).parent for camera in HEADSET_NAMES]
            folders += [folder.headset_mask(segment, camera, 0).parent for camera in HEADSET_NAMES]
        for path in folders:
            path.mkdir(parents=True, exist_ok=True)
        recorded: dict[str, list[np.ndarray]] = {}
        for start in range(0, len(positions), self._at_once):
            frame = self._load(split, positions[start : start + self._at_once])
            if start == 0:
                self._write_mesh(segment, frame)
            for path, content in self._pictures(segment, frame, split.cameras):
                write_picture(path, content)
            self._write_meshes(segment, frame)
            for name, values in _extras(frame):
                recorded.setdefault(name, []).append(values)
        arrays = {name: np.concatenate(values) for name, values in recorded.items()}
        # Like the segment's many pictures not forced to the disk: that would take longer than all else.
        write_atomically(
            folder.truth(segment), lambda file: np.savez(file, **arrays), within=folder.root, durable=False
        )
        return len(positions)

    def _load(self, split: Split, positions: np.ndarray) -> Frame:
        cameras = np.tile(np.arange(len(split.cameras)), (len(positions), 1))
        return split.load(FrameRequest(positions, self.observations, cameras))

    def _write_mesh(self, segment: str, frame: Frame) -> None:
        text = format_mesh_vertices(frame["face"].vertices[0].numpy()) + self._faces
        self.folder.mesh(segment, int(frame.numbers[0])).write_text(text, encoding="utf-8", newline="\n")

    def _write_meshes(self, segment: str, frame: Frame) -> None:
        extrinsics = _extrinsics(frame)
        poses = compose(invert(self._world[:1]), extrinsics[:, 0])[:, 0]
        told = compose(self._world, poses)
        if np.abs(told - extrinsics).max() > 0.05:
            raise CaptureError(
                f"the cameras of the capture move against each other in segment {segment}",
                "Multiface's layout has one calibration for all frames.",
            )
        for row, number in enumerate(frame.numbers.tolist()):
            vertices = frame["face"].vertices[row].numpy().astype("<f4")
            self.folder.vertices(segment, number).write_bytes(vertices.tobytes())
            self.folder.transform(segment, number).write_text(format_transform(poses[row]), encoding="utf-8")

    def _pictures(self, segment: str, frame: Frame, cameras: Sequence[str]) -> Iterator[tuple[Path, np.ndarray]]:
        """Path and content of every picture of some frames."""
        folder = self.folder
        for row, number in enumerate(frame.numbers.tolist()):
            yield folder.texture(segment, AVERAGE, number), _to_bytes(frame["face"].texture[row])
            for index, camera in enumerate(cameras):
                yield folder.picture(segment, camera, number), _to_bytes(frame["dome"].images[row, index])
            if "headset" in self.observations:
                images, masks = frame["headset"].images[row], frame["headset"].mask[row]
                for index, camera in enumerate(HEADSET_NAMES):
                    yield folder.headset(segment, camera, number), _to_bytes(images[index])
                    yield folder.headset_mask(segment, camera, number), _to_bytes(masks[index, None])
        for first, textures in self._unwrap(frame):
            for row, number in enumerate(frame.numbers.tolist()):
                for index, texture in enumerate(textures[row], first):
                    yield folder.texture(segment, cameras[index], number), texture

    def _unwrap(self, frame: Frame) -> Iterator[tuple[int, np.ndarray]]:
        """The first of some cameras, and the textures (B, n, T, T, 3) of these, until it was every camera's turn."""
        if self.renderer is None:
            return
        face = frame["face"]
        batch, count, _, height, width = frame["dome"].images.shape
        at_once = max(1, PIXELS_AT_ONCE // (batch * height * width))
        for first in range(0, count, at_once):
            views = frame["dome"].apply(lambda tensor, some=slice(first, first + at_once): tensor[:, some])
            with self._drawing, torch.inference_mode():
                depth = self.renderer(
                    repeat(face.vertices, "b v xyz -> (b n) v xyz", n=views.images.shape[1]),
                    torch.zeros(1, 1, 2, 2),
                    self.template.topology,
                    views.camera.flatten(),
                ).depth
            depth = rearrange(depth, "(b n) h w -> b n h w", b=batch)
            unwrapped = unwrap(self._texels, face.vertices, views.images, views.camera, depth)
            yield first, _to_bytes(torch.from_numpy(unwrapped))


def _extrinsics(frame: Frame) -> np.ndarray:
    """(B, C, 3, 4) head → camera, float64, rotations made exact."""
    extrinsics = frame["dome"].camera.extrinsics.numpy().astype(np.float64)
    return np.concatenate([nearest_rotation(extrinsics[..., :3]), extrinsics[..., 3:]], axis=-1)


def _has_pose(frame: Frame) -> bool:
    truth = frame.observations.get("truth")
    return getattr(truth, "pose", None) is not None


def _pose(frame: Frame) -> np.ndarray:
    pose = frame["truth"].pose.numpy().astype(np.float64)
    return np.concatenate([nearest_rotation(pose[..., :3]), pose[..., 3:]], axis=-1)


def _extras(frame: Frame) -> list[tuple[str, np.ndarray]]:
    """What a frame holds besides pictures and faces: exact cameras, keypoints, ground truth."""
    found = [("numbers", frame.numbers.numpy())]
    for name, record in frame.observations.items():
        if name in ("headset", "keypoints") or name not in _STANDARD:
            found += [
                (f"{name}.{tensor}", values.numpy())
                for tensor, values in flat(_without_pictures(record))
                if tensor not in ("images", "mask")
            ]
    return found


def _without_pictures(record: Record) -> Record:
    return replace(record, images=None, mask=None) if hasattr(record, "images") else record


def _to_bytes(values: torch.Tensor) -> np.ndarray:
    return to_bytes(255 * rearrange(values, "... c h w -> ... h w c").numpy())
