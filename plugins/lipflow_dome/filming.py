"""Filming: from the subject's motion to the pictures of every camera."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from lipflow_kit.cameras import compose, enlarge, positions, project
from lipflow_kit.eight_bit import to_bytes
from lipflow_kit.headset import draw_slip, light_pictures
from lipflow_kit.landmarks import visible_points
from lipflow_kit.resampling import box_filter

from lipflow_core.interfaces import Renderer
from lipflow_core.records import LUMINANCE, Camera
from lipflow_dome.atlas import topology
from lipflow_dome.cameras import Rig, dome_rig, headset_rig
from lipflow_dome.config import LANDMARKS, UNITS, VERTICES, DomeConfig
from lipflow_dome.head import Head, random_identity, subject_identities
from lipflow_dome.landmarks import landmark_vertices
from lipflow_dome.motion import SPLITS, act, segment_name
from lipflow_dome.shading import Shader

GREY = np.array(LUMINANCE, np.float32)
PIXELS_AT_ONCE = 1 << 22
TEXELS_AT_ONCE = 1 << 20


def layout(config: DomeConfig) -> dict[str, tuple[tuple[int, ...], str]]:
    """Give the shape and dtype of each array that is recorded of a frame."""
    size, cameras = config.texture, config.cameras
    return {
        "vertices": ((VERTICES, 3), "<f4"),
        "texture": ((3, size, size), "|u1"),
        "dome": ((cameras, 3, *config.image), "|u1"),
        "dome_mask": ((cameras, *config.image), "|u1"),
        "headset": ((3, 1, *config.headset.size), "|u1"),
        "headset_mask": ((3, *config.headset.size), "|u1"),
        "points": ((LANDMARKS, 2), "<f4"),
        "visible": ((LANDMARKS,), "<f4"),
        "expression": ((UNITS,), "<f4"),
        "gaze": ((2, 2), "<f4"),
        "pose": ((3, 4), "<f4"),
        "slip": ((3, 4), "<f4"),
        "light": ((3, 4), "<f4"),
        "background": ((3, 3), "<f4"),
        "noise": ((3,), "<f4"),
    }


class Performance:
    """The subject's motion in the frames of one split.

    Args:
        config: The dome's options.
        split: "train" or "held-out".
    """

    def __init__(self, config: DomeConfig, split: str):
        self.config = config
        self.split = split
        self.sequences = config.sequences if split == "train" else config.held_out_sequences
        self.length = config.frames_per_sequence

    def __len__(self) -> int:
        return self.sequences * self.length

    @property
    def segments(self) -> list[str]:
        """The segment of each frame."""
        return [segment_name(self.split, index) for index in range(self.sequences) for _ in range(self.length)]

    def of(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Give expression, gaze and pose, float32, of the frames at some positions (B,) within the split."""
        acted = {index: act(self.config, self.split, index) for index in np.unique(frames // self.length).tolist()}
        rows = [(acted[frame // self.length], frame % self.length) for frame in frames.tolist()]
        return {
            name: np.stack([getattr(sequence, name)[row] for sequence, row in rows]).astype(np.float32)
            for name in ("expression", "gaze", "pose")
        }


class Film:
    """One subject in the dome, with all cameras.

    Args:
        config: The dome's options.
    """

    def __init__(self, config: DomeConfig):
        self.config = config
        identity = config.identity
        if identity is None:
            identity = subject_identities()[config.subject]
        elif isinstance(identity, int):
            identity = random_identity(identity)
        self.head = Head(identity)
        self.dome = dome_rig(config)
        self.headset = headset_rig(config, self.head)
        self.topology = topology()

    @cached_property
    def shader(self) -> Shader:
        """The head's shader, set up on first use. Reading a complete cache needs none."""
        return Shader(self.head, self.config.subject, self.config.texture)

    @cached_property
    def renderer(self) -> Renderer:
        """The renderer, built on first use. Statistics need none."""
        return self.config.renderer.build(self.config.renderer_inputs)

    @property
    def frames_at_once(self) -> int:
        """Number of frames in a chunk. It follows from the options alone, whatever the number of processes."""
        return max(1, min(30, TEXELS_AT_ONCE // (self.config.texture**2 * (self.config.cameras + 3))))

    def face(self, performed: Mapping[str, np.ndarray], cameras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Give the faces of some frames without drawing any picture.

        Args:
            performed: What `Performance.of` gives.
            cameras: (N,) positions of the dome cameras to average over.

        Returns:
            Vertices (B, V, 3) and average textures (B, 3, T, T) in [0, 1].
        """
        vertices = self.head.deform(performed["expression"].astype(np.float64), performed["gaze"].astype(np.float64))
        pose = performed["pose"].astype(np.float64)
        viewpoints = positions(compose(self.dome.extrinsics[cameras], pose))
        colors, facing = self.shader.shade(vertices, performed["expression"], pose, viewpoints)
        return vertices, self._average(colors, facing)

    def shoot(self, performance: Performance, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Film the frames at some positions (B,) within a split; gives every array that `layout` names."""
        config = self.config
        performed = performance.of(frames)
        expression, gaze = performed["expression"].astype(np.float64), performed["gaze"].astype(np.float64)
        pose = performed["pose"].astype(np.float64)
        split = SPLITS.index(performance.split)
        generators = [np.random.default_rng([config.seed, 2 + split, frame]) for frame in frames.tolist()]
        slip = draw_slip(generators, config.headset.slip).astype(np.float32)
        dome = compose(self.dome.extrinsics, pose)
        headset = compose(self.headset.extrinsics, slip.astype(np.float64))

        vertices = self.head.deform(expression, gaze)
        viewpoints = np.concatenate([positions(dome), positions(headset)], axis=1)
        colors, facing = self.shader.shade(vertices, performed["expression"], pose, viewpoints)
        count = config.cameras
        average = self._average(colors[:, :count], facing[:, :count])
        pictures, coverage, depth = self._draw(vertices, colors[:, :count], self.dome, dome, config.image, np.uint8)
        grey = (colors[:, count:] @ GREY)[..., None]
        eyes, eyes_coverage, _ = self._draw(vertices, grey, self.headset, headset, config.headset.size)
        eyes, drawn = light_pictures(eyes, eyes_coverage, generators, config.headset)
        points, visible = self._keypoints(vertices, dome[:, 0], depth, generators)
        return {
            **performed,
            "vertices": vertices,
            "texture": to_bytes(average),
            "dome": pictures,
            "dome_mask": coverage,
            "headset": to_bytes(eyes),
            "headset_mask": to_bytes(eyes_coverage),
            "points": points,
            "visible": visible,
            "slip": slip,
            "light": drawn.light,
            "background": drawn.background,
            "noise": drawn.noise,
        }

    def _average(self, colors: np.ndarray, facing: np.ndarray) -> np.ndarray:
        """Average over cameras, each weighted by how squarely it sees a texel: (B, N, C, 3) → (B, 3, T, T)."""
        weight = facing**2 + 1e-3
        mean = np.einsum("bncx,bnc->bcx", colors, weight) / weight.sum(1)[..., None]
        return self.shader.texels.spread(mean, self.shader.blank)

    def _draw(
        self,
        vertices: np.ndarray,
        colors: np.ndarray,
        rig: Rig,
        extrinsics: np.ndarray,
        size: tuple[int, int],
        dtype: type = np.float32,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Draw each view, supersampled, with the texture that its camera sees.

        Args:
            vertices: (B, V, 3).
            colors: (B, N, C, K) of covered texels.
            rig: The N cameras' names and intrinsics.
            extrinsics: (B, N, 3, 4), head → camera.
            size: (height, width).
            dtype: Dtype of pictures and coverage: float32, or uint8 in steps of 1/255 for many large pictures.

        Returns:
            Pictures (B, N, K, H, W) before black, coverage (B, N, H, W), and the float32 depth (B, sH, sW) of the first
            camera, supersampled.
        """
        batch, count, _, channels = colors.shape
        factor = self.config.supersampling
        height, width = (side * factor for side in size)
        pictures = np.empty((batch, count, channels, *size), dtype)
        coverage = np.empty((batch, count, *size), dtype)
        finish = to_bytes if dtype is np.uint8 else np.asarray
        depth = np.empty((batch, height, width), np.float32)
        intrinsics = enlarge(rig.intrinsics, factor)
        blank = self.shader.blank if channels == 3 else np.atleast_1d(self.shader.blank @ GREY)
        at_once = max(1, min(batch, PIXELS_AT_ONCE // (height * width)))
        for view in range(count):
            for start in range(0, batch, at_once):
                rows = slice(start, start + at_once)
                texture = self.shader.texels.spread(colors[rows, view], blank)
                camera = Camera(
                    _tensor(np.repeat(intrinsics[view, None], len(texture), 0)),
                    _tensor(extrinsics[rows, view]),
                    height,
                    width,
                )
                with torch.inference_mode():
                    drawn = self.renderer(_tensor(vertices[rows]), _tensor(texture), self.topology, camera)
                pictures[rows, view] = finish(box_filter(drawn.image.numpy(), factor))
                coverage[rows, view] = finish(box_filter(drawn.coverage.numpy(), factor))
                if view == 0:
                    depth[rows] = drawn.depth.numpy()
        return pictures, coverage, depth

    def _keypoints(
        self, vertices: np.ndarray, extrinsics: np.ndarray, depth: np.ndarray, generators: list[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Project keypoints (B, K, 2) into the frontal picture and tell which are visible (B, K), float32."""
        landmarks = vertices[:, landmark_vertices()].astype(np.float64)
        points, away = project(landmarks, self.dome.intrinsics[0], extrinsics)
        visible = visible_points(points, away, depth, self.config.supersampling)
        noise = np.stack([generator.normal(0, 1, (LANDMARKS, 2)) for generator in generators])
        points = points + self.config.keypoint_noise * noise
        return points.astype(np.float32), visible.astype(np.float32)


def view_cameras(rig: Rig, extrinsics: np.ndarray, size: tuple[int, int]) -> Camera:
    """Give the record of a rig's N cameras, leading axes (B, N), with extrinsics (B, N, 3, 4)."""
    intrinsics = np.broadcast_to(rig.intrinsics, (*extrinsics.shape[:2], 3, 3))
    return Camera(_tensor(intrinsics), _tensor(extrinsics), *size)


def some_cameras(rig: Rig, cameras: np.ndarray) -> Rig:
    """Give the rig of some cameras of another; cameras: their positions, of any shape."""
    return replace(
        rig,
        names=tuple(rig.names[index] for index in cameras.reshape(-1)),
        intrinsics=rig.intrinsics[cameras],
        extrinsics=rig.extrinsics[cameras],
    )


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
