"""Writing the segments of a capture, one after another, each complete or not there."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from einops import rearrange, repeat
from lipflow_kit.cameras import compose, invert, nearest_rotation
from lipflow_kit.eight_bit import to_bytes
from lipflow_kit.headset import HEADSET_NAMES
from lipflow_kit.png_files import write_picture
from lipflow_kit.texels import TexelMap, unwrap

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import Capture, FrameRequest, Renderer, Split
from lipflow_core.records import Frame, Template
from lipflow_core.storage import write_atomically
from lipflow_multiface.krt import KrtCamera
from lipflow_multiface.layout import AVERAGE, CaptureFolder, name_problem
from lipflow_multiface.obj_files import Mesh
from lipflow_multiface.obj_text import format_topology, format_vertices
from lipflow_multiface.tracked_mesh import format_transform

FRAMES_AT_ONCE = 8
PIXELS_AT_ONCE = 1 << 24
"""Number of dome pixels in memory as floats at once, unless a single frame has more."""

_STANDARD = ("face", "dome", "frontal", "headset", "keypoints")


class SegmentWriter:
    """Writes the segments of a capture.

    Args:
        capture: The capture.
        folder: The folder to write.
        template: The capture's template.
        renderer: Draws depth; None to leave out each camera's texture.
        observations: Observations that are loaded of each frame.
        obj_for_each: Whether each frame gets an .obj file, or only the first of each segment.
    """

    def __init__(
        self,
        capture: Capture,
        folder: CaptureFolder,
        template: Template,
        renderer: Renderer | None,
        observations: Sequence[str],
        obj_for_each: Literal["frame", "segment"],
    ):
        self.folder = folder
        self.template = template
        self.renderer = renderer
        self.observations = tuple(observations)
        self.obj_for_each = obj_for_each
        topology = template.topology
        self._topology = format_topology(
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
        """Give the cameras in the world's frame: that of the capture's own poses if it tells them, else the first head.

        Raises:
            CaptureError: If a camera's name can't be that of a folder.
        """
        for name in split.cameras:
            if problem := name_problem(name):
                raise CaptureError(f"the camera {name!r} {problem}", "Give it another name.")
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
        """Write a segment, its .npz file once all other files are there; gives the number of its frames."""
        self._make_folders(split, segment)
        recorded: dict[str, list[np.ndarray]] = {}
        for start in range(0, len(positions), self._at_once):
            frame = self._load(split, positions[start : start + self._at_once])
            for path, content in self._pictures(segment, frame, split.cameras):
                write_picture(path, content)
            self._write_meshes(segment, frame, first=start == 0)
            for name, values in _extras(frame):
                recorded.setdefault(name, []).append(values)
        arrays = {name: np.concatenate(values) for name, values in recorded.items()}
        # Like the segment's many pictures not flushed to the disk, which would take longer than all else.
        path, root = self.folder.arrays(segment), self.folder.root
        write_atomically(path, lambda file: np.savez(file, **arrays), within=root, durable=False)
        return len(positions)

    def _make_folders(self, split: Split, segment: str) -> None:
        folder = self.folder
        folders = [folder.meshes / segment, folder.textures / segment / AVERAGE, folder.arrays(segment).parent]
        folders += [folder.pictures / segment / camera for camera in split.cameras]
        if self.renderer is not None:
            folders += [folder.textures / segment / camera for camera in split.cameras]
        if "headset" in self.observations:
            folders += [folder.headset(segment, camera, 0).parent for camera in HEADSET_NAMES]
            folders += [folder.headset_mask(segment, camera, 0).parent for camera in HEADSET_NAMES]
        for path in folders:
            path.mkdir(parents=True, exist_ok=True)

    def _load(self, split: Split, positions: np.ndarray) -> Frame:
        cameras = np.tile(np.arange(len(split.cameras)), (len(positions), 1))
        return split.load(FrameRequest(positions, self.observations, cameras))

    def _write_meshes(self, segment: str, frame: Frame, *, first: bool) -> None:
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
            if self.obj_for_each == "frame" or (first and row == 0):
                with self.folder.mesh(segment, number).open("wb") as file:
                    file.write(format_vertices(vertices))
                    file.write(self._topology)

    def _pictures(self, segment: str, frame: Frame, cameras: Sequence[str]) -> Iterator[tuple[Path, np.ndarray]]:
        """Give the path and content of every picture of some frames."""
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
        """Unwrap the textures of some cameras at a time: position of the first, and textures (B, n, T, T, 3)."""
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
    """Give the extrinsics (B, C, 3, 4), head → camera, float64, with exact rotations."""
    return _exact(frame["dome"].camera.extrinsics.numpy().astype(np.float64))


def _has_pose(frame: Frame) -> bool:
    truth = frame.observations.get("truth")
    return getattr(truth, "pose", None) is not None


def _pose(frame: Frame) -> np.ndarray:
    """Give the head poses (B, 3, 4), head → world, float64, with exact rotations."""
    return _exact(frame["truth"].pose.numpy().astype(np.float64))


def _exact(transforms: np.ndarray) -> np.ndarray:
    return np.concatenate([nearest_rotation(transforms[..., :3]), transforms[..., 3:]], axis=-1)


def _extras(frame: Frame) -> list[tuple[str, np.ndarray]]:
    """List what a frame holds beside pictures and faces: exact headset cameras, keypoints, ground truth."""
    found = [("numbers", frame.numbers.numpy())]
    for name, record in frame.observations.items():
        if name in ("headset", "keypoints") or name not in _STANDARD:
            found += [
                (f"{name}.{tensor}", values.numpy())
                for tensor, values in record.tensors()
                if tensor not in ("images", "mask")
            ]
    return found


def _to_bytes(values: torch.Tensor) -> np.ndarray:
    return to_bytes(rearrange(values, "... c h w -> ... h w c").numpy())
