"""One split of a capture in Multiface's layout, read as frames are asked for."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import torch
from lipflow_kit.cameras import compose, project
from lipflow_kit.eight_bit import from_bytes, quantise
from lipflow_kit.headset import HEADSET_NAMES
from lipflow_kit.landmarks import visible_points
from lipflow_kit.observed_split import ObservedSplit
from lipflow_kit.packing import named_record

from lipflow_core.interfaces import FrameRequest, Renderer
from lipflow_core.records import FaceState, Frame, Keypoints, Record, Topology, Views
from lipflow_multiface.frame_files import FrameReader, RequestedFrames, stack
from lipflow_multiface.layout import AVERAGE, reading
from lipflow_multiface.mesh_drawing import MeshDrawer, as_camera
from lipflow_multiface.virtual_headset import VirtualHeadset


class MultifaceSplit(ObservedSplit):
    """The frames of one split, read from the layout on disk as they are asked for.

    Beside the standard observations it has those that lie beside a simulated capture ("truth"), and for virtual headset
    pictures what was sampled ("sampled": slip, light, background and noise).

    Args:
        reader: Reads single frames.
        frames: (segment, number) of each.
        topology: The mesh's triangles and atlas.
        renderer: Draws masks and headset pictures.
        landmarks: (K,) vertex of each keypoint.
        mean: (V, 3) the subject's mean mesh, to which the headset is fitted.
        skipped: Reason → number of frames that were left out.
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
        self.drawer = MeshDrawer(renderer, topology, reader.config.supersampling)
        self.virtual = VirtualHeadset(reader, self.drawer, mean)
        self.landmarks = landmarks
        self.skipped = skipped
        self.segments = [segment for segment, _ in frames]
        self.numbers = np.array([number for _, number in frames], np.int64)
        self.cameras = [camera.name for camera in reader.found.cameras]
        self.frontal = reader.found.frontal

    @property
    def observations(self) -> tuple[str, ...]:
        headset = ("headset",) if self.reader.found.headset is not None else ()
        others = dict.fromkeys(name.split(".")[0] for name in self.reader.found.others)
        return ("face", "dome", "frontal", *headset, "keypoints", *others)

    def load(self, request: FrameRequest) -> Frame:
        with reading(self.reader.folder.root):
            return super().load(request)

    def select(self, indices: np.ndarray) -> RequestedFrames:
        return RequestedFrames([self.frames[index] for index in indices.tolist()], self.reader)

    def observe(self, name: str, frames: RequestedFrames, cameras: np.ndarray | None) -> Record:
        match name:
            case "face":
                size = self.reader.found.texture
                textures = [self.reader.texture(segment, AVERAGE, number) for segment, number in frames.names]
                return FaceState(torch.from_numpy(frames.vertices), from_bytes(stack(textures, (3, size, size))))
            case "dome":
                return self._views(frames, cameras)
            case "frontal":
                return self._views(frames, np.full((len(frames), 1), self.frontal))
            case "headset":
                return self._recorded_headset(frames) if self.reader.found.recorded else self.virtual.film(frames)[0]
            case "keypoints":
                return self._keypoints(frames)
            case "sampled":
                return self.virtual.film(frames)[1]
        shapes = {key: shape for key, shape in self.reader.found.others.items() if key.split(".")[0] == name}
        values = [torch.from_numpy(frames.recorded(key, shape)) for key, shape in shapes.items()]
        return named_record(name, tuple(key.split(".")[1] for key in shapes))(*values)

    def _views(self, frames: RequestedFrames, cameras: np.ndarray) -> Views:
        found, rig = self.reader.found, self.reader.rig
        pictures = [
            self.reader.picture(segment, camera, number)
            for (segment, number), row in zip(frames.names, cameras.tolist(), strict=True)
            for camera in row
        ]
        images = stack(pictures, (3, *found.image)).reshape(*cameras.shape, 3, *found.image)
        extrinsics = self._extrinsics(frames)[np.arange(len(cameras))[:, None], cameras]
        intrinsics = rig.intrinsics[cameras]
        drawn = self.drawer.draw(frames.vertices, intrinsics, extrinsics, found.image)
        return Views(from_bytes(images), as_camera(intrinsics, extrinsics, found.image), quantise(drawn.coverage))

    def _extrinsics(self, frames: RequestedFrames) -> np.ndarray:
        """Give the extrinsics (B, C, 3, 4), head → camera."""
        return compose(self.reader.rig.extrinsics, frames.poses)

    def _keypoints(self, frames: RequestedFrames) -> Keypoints:
        found, rig = self.reader.found, self.reader.rig
        frontal = np.full((len(frames), 1), self.frontal)
        intrinsics = rig.intrinsics[frontal]
        extrinsics = self._extrinsics(frames)[np.arange(len(frontal))[:, None], frontal]
        camera = as_camera(intrinsics[:, 0], extrinsics[:, 0], found.image)
        count = len(self.landmarks)
        if len(frames) and frames.has("keypoints.points", (count, 2)):
            points = frames.recorded("keypoints.points", (count, 2))
            # Written at the size on disk; a point moves with the pixels that `shrink` averages.
            scale = np.array([found.image[1] / found.disk_image[1], found.image[0] / found.disk_image[0]], np.float32)
            moved = (points + np.float32(0.5)) * scale - np.float32(0.5) if found.image != found.disk_image else points
            visible = frames.recorded("keypoints.visible", (count,))
            return Keypoints(torch.from_numpy(moved), torch.from_numpy(visible), camera)
        landmarks = frames.vertices[:, self.landmarks].astype(np.float64)
        points, away = project(landmarks, intrinsics[:, 0], extrinsics[:, 0])
        depth = self.drawer.draw(frames.vertices, intrinsics, extrinsics, found.image, depth=True).depth[:, 0]
        visible = visible_points(points, away, depth, self.reader.config.supersampling)
        return Keypoints(
            torch.from_numpy(points.astype(np.float32)), torch.from_numpy(visible.astype(np.float32)), camera
        )

    def _recorded_headset(self, frames: RequestedFrames) -> Views:
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
        return Views(from_bytes(images), camera, from_bytes(mask))
