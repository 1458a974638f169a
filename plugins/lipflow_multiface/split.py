"""One split of a capture in Multiface's layout, read as frames are asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from lipflow_kit.cameras import compose, project
from lipflow_kit.headset import HEADSET_NAMES
from lipflow_kit.packing import check_indices, named_record
from lipflow_kit.texels import HIDDEN_BEHIND

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import FrameRequest, Renderer, Split
from lipflow_core.records import FaceState, Frame, Keypoints, Record, Topology, Views
from lipflow_multiface.drawing import Drawing, as_camera
from lipflow_multiface.layout import AVERAGE
from lipflow_multiface.reading import FrameReader, Frames, stack
from lipflow_multiface.virtual import VirtualHeadset, quantised, unit


class MultifaceSplit(Split):
    """Frames of one split, read from the layout on disk as they are asked for.

    Besides the standard observations it has those that lie beside a simulated capture ("truth"), and of virtual
    headset pictures what was sampled ("sampled": slip, light, background and noise).

    Args:
        reader: Reads single frames.
        frames: (segment, number) of each.
        topology: The mesh's.
        renderer: Draws masks and headset pictures.
        landmarks: (K,) vertex of each keypoint.
        mean: (V, 3) the subject's mean mesh, where the headset is fitted.
        skipped: How many frames were left out, by reason.
    """

    def __init__(
        self,
        reader: FrameReader,
        frames: list[tuple[str, int]],
        topology: Topology,
        renderer: Renderer,
        landmarks: np.ndarray,
        mean: np.ndarray,
        skipped: Mapping[str, int],
    ):
        self.reader = reader
        self.frames = frames
        self.drawing = Drawing(renderer, topology, reader.config.supersampling)
        self.virtual = VirtualHeadset(reader, self.drawing, mean)
        self.landmarks = landmarks
        self.skipped = skipped
        self.segments = [segment for segment, _ in frames]
        self.numbers = np.array([number for _, number in frames], np.int64)
        self.cameras = [camera.name for camera in reader.found.cameras]
        self.frontal = reader.found.frontal

    @property
    def observations(self) -> tuple[str, ...]:
        """Names of what can be asked for."""
        headset = ("headset",) if self.reader.found.headset is not None else ()
        others = dict.fromkeys(name.split(".")[0] for name in self.reader.found.others)
        return ("face", "dome", "frontal", *headset, "keypoints", *others)

    def load(self, request: FrameRequest) -> Frame:
        indices = np.asarray(request.indices)
        check_indices(indices, len(self))
        frames = Frames([self.frames[index] for index in indices.tolist()], self.reader)
        return Frame(
            segments=tuple(segment for segment, _ in frames.names),
            numbers=torch.from_numpy(self.numbers[indices]),
            observations={name: self._observe(name, frames, request.cameras) for name in request.observations},
        )

    def _observe(self, name: str, frames: Frames, cameras: np.ndarray | None) -> Record:
        if name not in self.observations:
            raise CaptureError(f"the capture has no observation '{name}'", f"It has {', '.join(self.observations)}.")
        match name:
            case "face":
                textures = [self.reader.texture(segment, AVERAGE, number) for segment, number in frames.names]
                return FaceState(torch.from_numpy(frames.vertices), unit(stack(textures, self._texture_shape)))
            case "dome":
                if cameras is None:
                    raise ValueError("the observation 'dome' needs `cameras` in the FrameRequest")
                return self._views(frames, np.asarray(cameras))
            case "frontal":
                return self._views(frames, np.full((len(frames.names), 1), self.frontal))
            case "headset":
                return self._recorded_headset(frames) if self.reader.found.recorded else self.virtual.film(frames)[0]
            case "keypoints":
                return self._keypoints(frames)
            case "sampled":
                return self.virtual.film(frames)[1]
        tensors = tuple(
            tensor for owner, tensor in (key.split(".", 1) for key in self.reader.found.others) if owner == name
        )
        values = [
            torch.from_numpy(frames.recorded(f"{name}.{tensor}", self.reader.found.others[f"{name}.{tensor}"]))
            for tensor in tensors
        ]
        return named_record(name, tensors)(*values)

    @property
    def _texture_shape(self) -> tuple[int, int, int]:
        return (3, self.reader.found.texture, self.reader.found.texture)

    def _views(self, frames: Frames, cameras: np.ndarray) -> Views:
        found, rig = self.reader.found, self.reader.rig
        pictures = [
            self.reader.picture(segment, camera, number)
            for (segment, number), row in zip(frames.names, cameras.tolist(), strict=True)
            for camera in row
        ]
        images = stack(pictures, (3, *found.image)).reshape(*cameras.shape, 3, *found.image)
        extrinsics = self._extrinsics(frames)[np.arange(len(cameras))[:, None], cameras]
        intrinsics = rig.intrinsics[cameras]
        drawn = self.drawing.draw(frames.vertices, intrinsics, extrinsics, found.image)
        return Views(unit(images), as_camera(intrinsics, extrinsics, found.image), quantised(drawn.coverage))

    def _extrinsics(self, frames: Frames) -> np.ndarray:
        """(B, C, 3, 4) head → camera."""
        return compose(self.reader.rig.extrinsics, frames.poses)

    def _keypoints(self, frames: Frames) -> Keypoints:
        found, rig = self.reader.found, self.reader.rig
        frontal = np.full((len(frames.names), 1), self.frontal)
        intrinsics = rig.intrinsics[frontal]
        extrinsics = self._extrinsics(frames)[np.arange(len(frontal))[:, None], frontal]
        camera = as_camera(intrinsics[:, 0], extrinsics[:, 0], found.image)
        count = len(self.landmarks)
        if (points := frames.recorded_or_none("keypoints.points")) is not None and points.shape[1] == count:
            # Written at the size on disk; a point moves with the pixels that `shrink` averages.
            scale = np.array([found.image[1] / found.disk_image[1], found.image[0] / found.disk_image[0]], np.float32)
            moved = (points + np.float32(0.5)) * scale - np.float32(0.5) if found.image != found.disk_image else points
            visible = frames.recorded("keypoints.visible", (count,))
            return Keypoints(torch.from_numpy(moved), torch.from_numpy(visible), camera)
        landmarks = frames.vertices[:, self.landmarks].astype(np.float64)
        points, away = project(landmarks, intrinsics[:, 0], extrinsics[:, 0])
        depth = self.drawing.draw(frames.vertices, intrinsics, extrinsics, found.image, depth=True).depth
        factor = self.reader.config.supersampling
        fine = np.rint(points * factor + (factor - 1) / 2).astype(np.int64)
        height, width = depth.shape[-2:]
        inside = (fine >= 0).all(-1) & (fine[..., 0] < width) & (fine[..., 1] < height) & (away > 0)
        x, y = np.clip(fine[..., 0], 0, width - 1), np.clip(fine[..., 1], 0, height - 1)
        seen = depth[np.arange(len(points))[:, None], 0, y, x]
        # A landmark on the silhouette may round to a pixel beside the head, where nothing hides it.
        visible = inside & ((seen == 0) | (away < seen + HIDDEN_BEHIND))
        return Keypoints(
            torch.from_numpy(points.astype(np.float32)), torch.from_numpy(visible.astype(np.float32)), camera
        )

    def _recorded_headset(self, frames: Frames) -> Views:
        size = self.reader.found.headset
        pairs = [
            self.reader.headset(segment, camera, number) for segment, number in frames.names for camera in HEADSET_NAMES
        ]
        images = stack([picture for picture, _ in pairs], (1, *size)).reshape(-1, 3, 1, *size)
        mask = stack([mask for _, mask in pairs], size).reshape(-1, 3, *size)
        camera = as_camera(
            frames.recorded("headset.camera.intrinsics", (3, 3, 3)),
            frames.recorded("headset.camera.extrinsics", (3, 3, 4)),
            size,
        )
        return Views(unit(images), camera, unit(mask))
