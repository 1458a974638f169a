"""A virtual headset: its three cameras, its slip on the face, and the changing light of its pictures. Imports no torch.

The paper makes its headset pictures in this way (supplement, G): the tracked mesh with the multi-view texture is drawn
from sampled headset cameras, with changes of light, background and headset pose. All that is drawn at random is
returned, so that a capture can record it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from lipflow_kit.cameras import look_at, rigid
from lipflow_kit.headset_options import HeadsetOptions

HEADSET_NAMES = ("right-eye", "left-eye", "mouth")

FIELD_OF_VIEW = 84.0
"""Degrees, horizontally."""

SLIP_PIVOT = np.array([0.0, -20.0, 40.0])
"""The point of the head frame about which a headset slips, millimetres."""

# From the tip of the nose to the centres of the eyes and of the mouth's corners: to the subject's left, up, out of the
# face; millimetres. These are means over the dome's eight heads, which differ from them by up to 10 mm.
_FROM_NOSE = {"right_eye": (-29.0, 37.0, -40.0), "left_eye": (29.0, 37.0, -40.0), "mouth": (0.0, -30.0, -26.0)}


@dataclass(frozen=True)
class Anchors:
    """Places of eyes and mouth in the head frame, (3,) millimetres each."""

    right_eye: np.ndarray
    left_eye: np.ndarray
    mouth: np.ndarray


def estimate_anchors(vertices: np.ndarray) -> Anchors:
    """Estimate the eyes and mouth of a mean face from the tip of its nose, by an adult's proportions.

    Args:
        vertices: (V, 3) millimetres in a head frame with x to the subject's left, y up, z out of the face.
    """
    nose = vertices[vertices[:, 2] >= vertices[:, 2].max() - 2.0].mean(0)
    return Anchors(**{name: nose + np.array(offset) for name, offset in _FROM_NOSE.items()})


def chosen_anchors(vertices: np.ndarray, **points: Sequence[float] | None) -> Anchors:
    """Give the anchors of a mean face: `right_eye`, `left_eye` and `mouth` as given, estimated where None."""
    estimated = estimate_anchors(vertices)
    named = {name: getattr(estimated, name) if point is None else np.array(point) for name, point in points.items()}
    return Anchors(**named)


def headset_cameras(size: tuple[int, int], anchors: Anchors) -> tuple[np.ndarray, np.ndarray]:
    """Place the cameras of a headset that sits perfectly on a head: right eye, left eye, mouth.

    Args:
        size: Height and width of the pictures.
        anchors: Eyes and mouth of the head.

    Returns:
        Intrinsics (3, 3, 3) and extrinsics (3, 3, 4), head frame → camera.
    """
    height, width = size
    right, left, mouth = anchors.right_eye, anchors.left_eye, anchors.mouth
    extrinsics = np.stack(
        [
            look_at(right + np.array([-24, -14, 70]), right + np.array([1, 1, 8])),
            look_at(left + np.array([24, -14, 70]), left + np.array([-1, 1, 8])),
            look_at(mouth + np.array([0, -46, 74]), mouth + np.array([0, -4, 4])),
        ]
    )
    focal = 0.5 * width / np.tan(np.radians(FIELD_OF_VIEW / 2))
    intrinsics = np.array([[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]])
    return np.repeat(intrinsics[None], 3, axis=0), extrinsics


def draw_slip(generators: Sequence[np.random.Generator], scale: float) -> np.ndarray:
    """Draw how the headset slipped: [R|t] (B, 3, 4), head frame → frame of a head that it sits on perfectly.

    Args:
        generators: One for each frame; six normal numbers are drawn from each.
        scale: 1 is a standard deviation of 2° and 1.5 mm, cut off at 2.5 standard deviations; 0 is no slip.
    """
    drawn = np.array([generator.normal(0, 1, 6) for generator in generators]).reshape(-1, 6) * scale
    drawn = np.clip(drawn, -2.5 * scale, 2.5 * scale)
    return rigid(np.radians(2.0) * drawn[:, :3], 1.5 * drawn[:, 3:], SLIP_PIVOT)


@dataclass(frozen=True)
class Light:
    """Holds the random numbers of the light in N pictures of B frames, float32.

    Args:
        light: (B, N, 4) gain, offset, change of gain from the left to the right edge and from the upper to the lower.
        background: (B, N, 3) grey behind the middle of the picture, its change from the left to the right edge and from
            the upper to the lower; cut off at 0 and at the brightest grey.
        noise: (B, N) standard deviation of the noise of pixels.
    """

    light: np.ndarray
    background: np.ndarray
    noise: np.ndarray


def light_pictures(
    pictures: np.ndarray, coverage: np.ndarray, generators: Sequence[np.random.Generator], options: HeadsetOptions
) -> tuple[np.ndarray, Light]:
    """Put headset pictures into changing light, before a changing background, and add noise.

    Args:
        pictures: (B, N, 1, h, w) drawn before black, in [0, 1].
        coverage: (B, N, h, w) share of each pixel that the head covers, in [0, 1].
        generators: One random generator for each frame.
        options: Strength of the changes of light, background and noise.

    Returns:
        Pictures (B, N, 1, h, w), and the random numbers that were drawn for them.
    """
    count, height, width = coverage.shape[1:]
    x, y = np.linspace(-0.5, 0.5, width), np.linspace(-0.5, 0.5, height)[:, None]
    drawn = Light(
        np.empty((len(pictures), count, 4), np.float32),
        np.empty((len(pictures), count, 3), np.float32),
        np.full((len(pictures), count), options.noise, np.float32),
    )
    scales = np.array([options.gain, options.offset, options.gradient, options.gradient])
    lit = np.empty_like(pictures)
    for row, generator in enumerate(generators):
        light = generator.normal(0, 1, (count, 4)) * scales
        light[:, 0] = np.exp(light[:, 0])
        drawn.light[row] = light
        level, slope = generator.uniform(0, 1, count), generator.uniform(-0.5, 0.5, (2, count))
        drawn.background[row] = options.background * np.stack([level, *slope], 1)
        gains, offsets, across, down = drawn.light[row].T[..., None, None]
        level, rightwards, downwards = drawn.background[row].T[..., None, None]
        behind = np.clip(level + rightwards * x + downwards * y, 0, options.background)
        scene = pictures[row, :, 0] * (gains * (1 + across * x + down * y)) + offsets * coverage[row]
        grain = generator.normal(0, options.noise, (count, height, width))
        lit[row, :, 0] = np.clip(scene + (1 - coverage[row]) * behind + grain, 0, 1)
    return lit, drawn
