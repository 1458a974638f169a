"""The subject's motion: sequences of expression weights, gaze and head pose, drawn by seed."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from lipflow_kit.cameras import rigid

from lipflow_dome.config import DomeConfig
from lipflow_dome.expressions import PEAKS, VISEMES, Recipe, region, sides
from lipflow_dome.head import load_asset

SPLITS = ("train", "held-out")
TRAIN_KINDS = ("neutral", "peak", "mix", "speech", "gaze", "mix", "peak", "mix", "speech", "mix", "peak", "mix")
HELD_OUT_KINDS = ("free_face", "ROM")
REACH = 48.0
"""Limit in millimetres on the summed displacement by mouth and jaw units, so that combinations stay human."""


@dataclass(frozen=True)
class Sequence:
    """Holds the motion of one sequence of N frames.

    Args:
        segment: Name of the segment, unique in the capture.
        expression: (N, E) weights of the expression units.
        gaze: (N, 2, 2) yaw and pitch of the left and right eye, radians.
        pose: (N, 3, 4) [R|t], head frame → dome.
    """

    segment: str
    expression: np.ndarray
    gaze: np.ndarray
    pose: np.ndarray


def segment_name(split: str, index: int) -> str:
    """Give the segment name of a split's sequence: its kind, its expression if it has one, and its number."""
    kind = _kind(split, index)
    if kind == "peak":
        return f"EXP_{_peak(index)}_{index:04d}"
    return f"SEN_{index:04d}" if kind == "speech" else f"EXP_{kind}_{index:04d}"


def _kind(split: str, index: int) -> str:
    kinds = TRAIN_KINDS if split == "train" else HELD_OUT_KINDS
    return kinds[index % len(kinds)]


def _peak(index: int) -> str:
    turn, place = divmod(index, len(TRAIN_KINDS))
    order = turn * TRAIN_KINDS.count("peak") + TRAIN_KINDS[:place].count("peak")
    return list(PEAKS)[order % len(PEAKS)]


def act(config: DomeConfig, split: str, index: int) -> Sequence:
    """Draw a sequence. It depends on the capture's seed, the split and the sequence's number only."""
    generator = np.random.default_rng([config.seed, SPLITS.index(split), index])
    return _Actor(generator, config.frames_per_sequence, config.head_motion).act(
        _kind(split, index), segment_name(split, index), _peak(index)
    )


@dataclass(frozen=True)
class _Vocabulary:
    """The expression units as the actor sees them.

    Args:
        names: Names of the units.
        index: Name → position.
        regions: (E,) part of the face that each unit moves.
        reach: (E,) farthest that each unit moves a vertex, millimetres.
        groups: Units that usually act together: pairs of sides, and single units without sides. Gaze units are left
            out, since gaze is drawn by itself.
    """

    names: tuple[str, ...]
    index: dict[str, int]
    regions: np.ndarray
    reach: np.ndarray
    groups: list[tuple[int, ...]]


@functools.cache
def _vocabulary() -> _Vocabulary:
    asset = load_asset()
    index = {name: position for position, name in enumerate(asset.expression_names)}
    groups = []
    for name in asset.expression_names:
        pair = sides(name)
        if region(name) != "gaze" and not (pair and name == pair[1]):
            groups.append(tuple(index[side] for side in pair) if pair else (index[name],))
    return _Vocabulary(
        names=asset.expression_names,
        index=index,
        regions=np.array([region(name) for name in asset.expression_names]),
        reach=np.linalg.norm(asset.expression_deltas, axis=2).max(1),
        groups=groups,
    )


class _Actor:
    def __init__(self, generator: np.random.Generator, frames: int, head_motion: float):
        self.generator = generator
        self.frames = frames
        self.head_motion = head_motion
        vocabulary = _vocabulary()
        self.names, self.index, self.groups = vocabulary.names, vocabulary.index, vocabulary.groups
        self.regions, self.reach = vocabulary.regions, vocabulary.reach
        self.ease = np.clip(9 / self.reach, 0.2, 1) * np.where(self.regions == "jaw", 0.7, 1)

    def act(self, kind: str, segment: str, peak: str) -> Sequence:
        weights = self._idle()
        everywhere = tuple(sorted(set(self.regions)))
        wide = 0.35
        if kind == "neutral":
            weights = weights * 0.5
            wide = 0.1
        elif kind == "peak":
            weights = weights + self._envelope()[:, None] * (
                self._vary(PEAKS[peak]) + 0.5 * self._combination(2, 8, everywhere)
            )
        elif kind == "speech":
            keys = max(2, round(self.frames / 2.5))
            sounds = self.generator.choice(list(VISEMES), size=keys)
            loud = self.generator.uniform(0.55, 1.05)
            weights = weights + self._between(np.stack([self._vary(VISEMES[sound]) * loud for sound in sounds]))
            weights = weights + self._between(np.stack([0.6 * self._combination(3, 10, everywhere) for _ in range(2)]))
        elif kind == "ROM":
            keys = max(2, round(self.frames / 3))
            poses = [self._extreme() for _ in range(keys)]
            weights = weights * 0.5 + self._between(np.stack(poses))
            wide = 0.8
        elif kind == "gaze":
            weights = weights + self._between(
                np.stack([self._combination(2, 6, ("brow", "eye", "nose", "cheek")) for _ in range(2)])
            )
            wide = 1.0
        else:  # mix and free_face
            keys = max(2, round(self.frames / 4))
            poses = [self._combination(8, 24, everywhere) for _ in range(keys)]
            weights = weights + self._between(np.stack(poses))
            wide = 0.6
        gaze = self._gaze(wide)
        weights = self._feasible(self._lids(weights + self._blinks(), gaze))
        return Sequence(segment, weights, gaze, self._pose())

    def _times(self) -> np.ndarray:
        return (np.arange(self.frames) + 0.5) / self.frames

    def _between(self, keys: np.ndarray) -> np.ndarray:
        """Move through key poses, easing in and out of each: (K, …) → (N, …)."""
        spacing = np.cumsum(self.generator.uniform(0.6, 1.4, len(keys)))
        stops = (spacing - spacing[0]) / (spacing[-1] - spacing[0])
        times = self._times()
        result = np.empty((self.frames, *keys.shape[1:]))
        for place, (start, end) in enumerate(pairwise(stops)):
            inside = (times >= start) & ((times < end) | (place == len(stops) - 2))
            phase = (times[inside] - start) / max(end - start, 1e-9)
            ease = (phase * phase * (3 - 2 * phase)).reshape(-1, *[1] * (keys.ndim - 1))
            result[inside] = keys[place] * (1 - ease) + keys[place + 1] * ease
        return result

    def _envelope(self) -> np.ndarray:
        """Draw the onset, apex and release of a peak expression; (N,)."""
        onset = self.generator.uniform(0.25, 0.45)
        release = self.generator.uniform(0.6, 0.85)
        rise = np.clip(self._times() / onset, 0, 1)
        fall = np.clip((1 - self._times()) / (1 - release), 0, 1)
        return (rise * rise * (3 - 2 * rise)) * (fall * fall * (3 - 2 * fall))

    def _idle(self) -> np.ndarray:
        """Draw the small motion of a face at rest; (N, E)."""
        active = self.generator.random((2, len(self.names))) < 0.3
        size = self.generator.exponential(0.09, (2, len(self.names)))
        keys = np.where(active & (self.regions != "gaze") & (self.regions != "tongue"), size, 0)
        return self._between(np.minimum(keys, 0.3) * self.ease)

    def _vary(self, recipe: Recipe) -> np.ndarray:
        """Vary a recipe as people do: stronger or weaker, one side more than the other; (E,)."""
        weights = np.zeros(len(self.names))
        strength = self.generator.uniform(0.65, 1.1)
        tilt = self.generator.normal(0, 0.18)
        for name, weight in recipe.items():
            for unit, lean in self._resolve(name):
                weights[unit] = weight * strength * (1 + lean * tilt) * self.generator.uniform(0.8, 1.2)
        return np.clip(weights, 0, 1.1)

    def _resolve(self, name: str) -> list[tuple[int, int]]:
        if name in self.index:
            return [(self.index[name], 1 if "left" in name.lower() else -1 if "right" in name.lower() else 0)]
        return [(self.index[name + "Left"], 1), (self.index[name + "Right"], -1)]

    def _combination(self, fewest: int, most: int, where: tuple[str, ...]) -> np.ndarray:
        """Draw a random combination of units in some regions, sometimes one-sided; (E,)."""
        weights = np.zeros(len(self.names))
        choices = [group for group in self.groups if self.regions[group[0]] in where]
        count = min(int(self.generator.integers(fewest, most + 1)), len(choices))
        for choice in self.generator.choice(len(choices), size=count, replace=False):
            weight = self.generator.beta(1.5, 1.3)
            sided = self.generator.random()
            for side, unit in enumerate(choices[choice]):
                alone = len(choices[choice]) == 2 and sided < 0.4 and side == int(sided < 0.2)
                weights[unit] = 0 if alone else weight * self.generator.uniform(0.75, 1.25)
        # Units of long reach would dominate: they come weaker, and the jaw seldom opens.
        weights *= self.ease
        if "jaw" in where and self.generator.random() < 0.15:
            weights[self.index["jawOpen"]] += 0.35 * self.generator.random() ** 2
        return np.clip(weights, 0, 1)

    def _extreme(self) -> np.ndarray:
        """Draw one group of units near its limit, together with a few weak ones; (E,)."""
        weights = 0.5 * self._combination(2, 8, tuple(sorted(set(self.regions))))
        group = self.groups[int(self.generator.integers(len(self.groups)))]
        weights[list(group)] = self.generator.uniform(0.8, 1.0)
        return weights

    def _blinks(self) -> np.ndarray:
        weights = np.zeros((self.frames, len(self.names)))
        for _ in range(self.generator.poisson(self.frames / 28)):
            distance = np.abs(np.arange(self.frames) - self.generator.uniform(0, self.frames))
            closed = np.clip(1.35 - distance / self.generator.uniform(1.2, 2.0), 0, 1)
            for name in ("eyeBlinkLeft", "eyeBlinkRight"):
                weights[:, self.index[name]] = np.maximum(weights[:, self.index[name]], closed)
        return weights

    def _gaze(self, wide: float) -> np.ndarray:
        """Draw fixations with saccades between them; (N, 2, 2) radians."""
        count = 1 + self.generator.poisson(self.frames / 7)
        targets = np.clip(self.generator.normal(0, [0.22 * wide, 0.14 * wide], (count, 2)), -0.55, 0.55)
        targets[:, 1] = np.clip(targets[:, 1], -0.36, 0.30)
        starts = np.sort(self.generator.uniform(0, self.frames, count))
        fixation = np.maximum(np.searchsorted(starts, np.arange(self.frames), side="right") - 1, 0)
        gaze = np.repeat(targets[fixation][:, None], 2, axis=1)
        gaze += self.generator.normal(0, 0.008, gaze.shape)
        vergence = self.generator.uniform(0.01, 0.06)  # eyes turn inwards, more so for near targets
        gaze[:, 0, 0] -= vergence
        gaze[:, 1, 0] += vergence
        return gaze

    def _lids(self, weights: np.ndarray, gaze: np.ndarray) -> np.ndarray:
        """Let the lids follow the eyes."""
        weights = weights.copy()
        for eye, (side, inwards) in enumerate((("Left", -1), ("Right", 1))):
            yaw, pitch = gaze[:, eye, 0] * inwards, gaze[:, eye, 1]
            for name, angle in (("Up", pitch / 0.35), ("Down", -pitch / 0.45), ("In", yaw / 0.6), ("Out", -yaw / 0.6)):
                weights[:, self.index[f"eyeLook{name}{side}"]] = np.clip(angle, 0, 1)
        return weights

    def _feasible(self, weights: np.ndarray) -> np.ndarray:
        """Resolve contradictions: lids close at most once, the mouth's reach is limited, opposite motions cancel."""
        weights = np.clip(weights, 0, 1.1)
        for side in ("Left", "Right"):
            blink, closure = self.index[f"eyeBlink{side}"], self.index[f"mh_eye-{side.lower()}-closure"]
            closing = np.minimum(weights[:, blink] + weights[:, closure], 1)
            # Either unit alone closes the eye along a crooked line; half of each looks like a lid.
            weights[:, blink], weights[:, closure] = 0.5 * closing, 0.45 * closing
            open_ = 1 - closing
            down = self.index[f"eyeLookDown{side}"]
            weights[:, down] = np.minimum(weights[:, down], open_)
            for name in (f"eyeWide{side}", f"mh_eye-{side.lower()}-opened-up", f"mh_eye-{side.lower()}-slit"):
                weights[:, self.index[name]] *= open_
            weights[:, self.index[f"eyeSquint{side}"]] *= 0.5 + 0.5 * open_
        for one, other in (("jawLeft", "jawRight"), ("mouthLeft", "mouthRight")):
            common = np.minimum(weights[:, self.index[one]], weights[:, self.index[other]])
            weights[:, self.index[one]] -= common
            weights[:, self.index[other]] -= common
        mouth = np.isin(self.regions, ("mouth", "jaw", "cheek", "neck"))
        excess = (weights * self.reach)[:, mouth].sum(1) / REACH
        # A soft limit: small motions stay, large ones are compressed.
        weights[:, mouth] /= (1 + np.maximum(excess, 0) ** 3)[:, None] ** (1 / 3)
        jaw = weights[:, self.index["jawOpen"]] + weights[:, self.index["mh_mouth-open"]]
        close, tongue = self.index["mouthClose"], self.index["tongueOut"]
        weights[:, close] = np.minimum(weights[:, close], 0.8 * weights[:, self.index["jawOpen"]])
        weights[:, tongue] *= np.clip((jaw - weights[:, close]) / 0.3, 0, 1)
        return weights

    def _pose(self) -> np.ndarray:
        """Draw slight head motion about the top of the neck; (N, 3, 4)."""
        keys = self.generator.normal(0, 1, (2 + self.frames // 15, 6)) * self.head_motion
        motion = self._between(keys) * np.array([0.05, 0.07, 0.03, 5.0, 4.0, 5.0])
        return rigid(motion[:, :3], motion[:, 3:], pivot=np.array([0.0, -60.0, -20.0]))
