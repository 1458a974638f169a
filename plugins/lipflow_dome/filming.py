"""Films frames: from what the subject does to what every camera records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property

import numpy as np
import torch
from lipflow_kit.cameras import compose, enlarge, positions, project
from lipflow_kit.headset import draw_slip, light_pictures

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
    """Shape and dtype of what is recorded of each frame."""
    size, cameras = config.texture, config.cameras
    return {
        "vertices": ((VERTICES, 3), "<f4"),
        "texture": ((3, size, size), "|u1"),
        "dome": ((cameras, 3, *config.image), "|u1"),
        "dome_mask": ((cameras, *config.image), "|u1"),
        "headset": ((3, 1, *config.headset), "|u1"),
        "headset_mask": ((3, *config.headset), "|u1"),
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
    """What the subject does in the frames of one split.

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
        """Segment of each frame."""
        return [segment_name(self.split, index) for index in range(self.sequences) for _ in range(self.length)]

    def of(self, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Expression, gaze and pose of some frames, float32; frames: (B,) positions within the split."""
        acted = {index: act(self.config, self.split, index) for index in np.unique(frames // self.length).tolist()}
        rows = [(acted[frame // self.length], frame % self.length) for frame in frames.tolist()]
        return {
            name: np.stack([getattr(sequence, name)[row] for sequence, row in rows]).astype(np.float32)
            for name in ("expression", "gaze", "pose")
        }


class Film:
    """Films one subject.

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
        """What colours the head, set up on first use: a capture that was filmed before needs none."""
        return Shader(self.head, self.config.subject, self.config.texture)

    @cached_property
    def renderer(self) -> Renderer:
        """The renderer, built on first use: statistics need none."""
        return self.config.renderer.build(self.config.renderer_inputs)

    @property
    def frames_at_once(self) -> int:
        """Frames in a chunk: fixed by the options, so that results do not depend on how work is spread."""
        return max(1, min(30, TEXELS_AT_ONCE // (self.config.texture**2 * (self.config.cameras + 3))))

    def face(self, performed: Mapping[str, np.ndarray], cameras: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Vertices (B, V, 3) and average textures (B, 3, T, T) in [0, 1], over some dome cameras (their indices)."""
        vertices = self.head.deform(performed["expression"].astype(np.float64), performed["gaze"].astype(np.float64))
        pose = performed["pose"].astype(np.float64)
        viewpoints = positions(compose(self.dome.extrinsics[cameras], pose))
        colors, facing = self.shader.shade(vertices, performed["expression"], pose, viewpoints)
        return vertices, self._average(colors, facing)

    def shoot(self, performance: Performance, frames: np.ndarray) -> dict[str, np.ndarray]:
        """Everything that `layout` names, of some frames; frames: (B,) positions within the split."""
        config = self.config
        performed = performance.of(frames)
        expression, gaze = performed["expression"].astype(np.float64), performed["gaze"].astype(np.float64)
        pose = performed["pose"].astype(np.float64)
        split = SPLITS.index(performance.split)
        generators = [np.random.default_rng([config.seed, 2 + split, frame]) for frame in frames.tolist()]
        slip = draw_slip(generators, config.headset_slip).astype(np.float32)
        dome = compose(self.dome.extrinsics, pose)
        headset = compose(self.headset.extrinsics, slip.astype(np.float64))

        vertices = self.head.deform(expression, gaze)
        viewpoints = np.concatenate([positions(dome), positions(headset)], axis=1)
        colors, facing = self.shader.shade(vertices, performed["expression"], pose, viewpoints)
        count = config.cameras
        average = self._average(colors[:, :count], facing[:, :count])
        pictures, coverage, depth = self._draw(vertices, colors[:, :count], self.dome, dome, config.image, np.uint8)
        grey = (colors[:, count:] @ GREY)[..., None]
        eyes, eyes_coverage, _ = self._draw(vertices, grey, self.headset, headset, config.headset)
        eyes, drawn = light_pictures(
            eyes,
            eyes_coverage,
            generators,
            gain=config.headset_gain,
            offset=config.headset_offset,
            gradient=config.headset_gradient,
            background=config.headset_background,
            noise=config.headset_noise,
        )
        points, visible = self._keypoints(vertices, dome[:, 0], depth, generators)
        return {
            **performed,
            "vertices": vertices,
            "texture": _bytes(average),
            "dome": pictures,
            "dome_mask": coverage,
            "headset": _bytes(eyes),
            "headset_mask": _bytes(eyes_coverage),
            "points": points,
            "visible": visible,
            "slip": slip,
            "light": drawn.light,
            "background": drawn.background,
            "noise": drawn.noise,
        }

    def _average(self, colors: np.ndarray, facing: np.ndarray) -> np.ndarray:
        """Mean over cameras, each weighted by how squarely it sees a texel; (B, 3, T, T)."""
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
        """Draw each view with its own texture, supersampled.

        Args:
            vertices: (B, V, 3).
            colors: (B, N, C, K) of covered texels.
            rig: The N cameras.
            extrinsics: (B, N, 3, 4), head → camera.
            size: (height, width).
            dtype: Of pictures and coverage: float32, or uint8 in steps of 1/255, since many large ones fill the memory.

        Returns:
            Pictures (B, N, K, H, W) before black, coverage (B, N, H, W), and the float32 depth (B, sH, sW) of the first
            camera, supersampled.
        """
        batch, count, _, channels = colors.shape
        factor = self.config.supersampling
        height, width = (side * factor for side in size)
        pictures = np.empty((batch, count, channels, *size), dtype)
        coverage = np.empty((batch, count, *size), dtype)
        finish = _bytes if dtype is np.uint8 else np.asarray
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
                pictures[rows, view] = finish(_reduce(drawn.image.numpy(), factor))
                coverage[rows, view] = finish(_reduce(drawn.coverage.numpy(), factor))
                if view == 0:
                    depth[rows] = drawn.depth.numpy()
        return pictures, coverage, depth

    def _keypoints(
        self, vertices: np.ndarray, extrinsics: np.ndarray, depth: np.ndarray, generators: list[np.random.Generator]
    ) -> tuple[np.ndarray, np.ndarray]:
        """Keypoints (B, K, 2) in the frontal picture and whether they are seen (B, K), float32."""
        landmarks = vertices[:, landmark_vertices()].astype(np.float64)
        points, away = project(landmarks, self.dome.intrinsics[0], extrinsics)
        factor = self.config.supersampling
        fine = np.rint(points * factor + (factor - 1) / 2).astype(np.int64)
        height, width = depth.shape[1:]
        inside = (fine >= 0).all(-1) & (fine[..., 0] < width) & (fine[..., 1] < height)
        x, y = np.clip(fine[..., 0], 0, width - 1), np.clip(fine[..., 1], 0, height - 1)
        seen = depth[np.arange(len(points))[:, None], y, x]
        # a landmark on the silhouette may round to a pixel beside the head, where nothing hides it
        visible = inside & ((seen == 0) | (away < seen + 4.0))
        noise = np.stack([generator.normal(0, 1, (LANDMARKS, 2)) for generator in generators])
        points = points + self.config.keypoint_noise * noise
        return points.astype(np.float32), visible.astype(np.float32)


def view_cameras(rig: Rig, extrinsics: np.ndarray, size: tuple[int, int]) -> Camera:
    """A record of cameras with leading axes (B, N) from (B, N, 3, 4) extrinsics of a rig's N cameras."""
    intrinsics = np.broadcast_to(rig.intrinsics, (*extrinsics.shape[:2], 3, 3))
    return Camera(_tensor(intrinsics), _tensor(extrinsics), *size)


def chosen(rig: Rig, cameras: np.ndarray) -> Rig:
    """A rig of some of the cameras of another."""
    return replace(
        rig,
        names=tuple(rig.names[index] for index in cameras.reshape(-1)),
        intrinsics=rig.intrinsics[cameras],
        extrinsics=rig.extrinsics[cameras],
    )


def _reduce(pictures: np.ndarray, factor: int) -> np.ndarray:
    """Box-filter (…, factor·H, factor·W) → (…, H, W)."""
    # sums of strided views are several times as fast as a mean over two axes
    columns = sum(pictures[..., offset::factor] for offset in range(factor))
    return sum(columns[..., offset::factor, :] for offset in range(factor)) / factor**2


def _bytes(values: np.ndarray) -> np.ndarray:
    return np.rint(np.clip(values, 0, 1) * 255).astype(np.uint8)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
