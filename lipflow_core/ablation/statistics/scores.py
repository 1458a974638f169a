"""Hold the scores of a grid, and pair those of two systems by frame."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np

LEVELS = ("subject", "seed", "sequence", "frame")
"""Levels that a difference varies over, from the widest to the narrowest."""


@dataclass(frozen=True, eq=False)
class RunScores:
    """Scores of one trained system on one task, frame by frame.

    Args:
        system: Name of the system.
        task: Name of the task.
        subject: Name of the person.
        seed: Seed of the training run.
        frames: (sequence, number) of each of N frames. A sequence is what evaluations call a segment; those of two
            subjects may have the same name.
        values: Metric → (N,) scores; NaN where a frame could not be scored.

    Raises:
        ValueError: If a metric has not one value per frame, or a frame occurs twice.
    """

    system: str
    task: str
    subject: str
    seed: int
    frames: Sequence[tuple[str, int]]
    values: Mapping[str, Sequence[float] | np.ndarray]

    def __post_init__(self):
        counts = {metric: len(values) for metric, values in self.values.items()}
        if wrong := {metric: count for metric, count in counts.items() if count != len(self.frames)}:
            raise ValueError(f"{self}: {len(self.frames)} frames, but the metrics have {wrong} values")
        if len(set(self.frames)) < len(self.frames):
            twice = next(frame for i, frame in enumerate(self.frames) if frame in self.frames[:i])
            raise ValueError(f"{self}: frame {twice[0]}/{twice[1]} occurs twice")

    def __str__(self) -> str:
        return f"system '{self.system}', task '{self.task}', subject '{self.subject}', seed {self.seed}"


class Scores:
    """Scores of a grid.

    Args:
        runs: Those of each system, task, subject and seed.

    Raises:
        ValueError: If two runs have the same system, task, subject and seed.
    """

    def __init__(self, runs: Iterable[RunScores]):
        self._runs: dict[tuple[str, str], dict[tuple[str, int], RunScores]] = {}
        self._names: dict[str, dict[str | int, int]] = {level: {} for level in LEVELS}
        self._keys: dict[RunScores, np.ndarray] = {}
        for run in runs:
            place = self._runs.setdefault((run.system, run.task), {})
            if (run.subject, run.seed) in place:
                raise ValueError(f"{run}: there are two runs of it")
            place[run.subject, run.seed] = run
            self._code("subject", run.subject)
            self._code("seed", run.seed)
            codes = [self._code("sequence", name) << 32 | self._code("frame", number) for name, number in run.frames]
            self._keys[run] = np.array(codes, np.int64)

    @classmethod
    def of_rows(cls, rows: Iterable[Mapping[str, object]]) -> Self:
        """Take scores from rows with the keys system, task, subject, seed, sequence, frame, metric and value.

        Raises:
            ValueError: If two rows differ in nothing but the value.
        """
        found: dict[tuple, dict[tuple, dict[str, float]]] = {}
        for row in rows:
            run = tuple(row[name] for name in ("system", "task", "subject", "seed"))
            frame = found.setdefault(run, {}).setdefault((row["sequence"], row["frame"]), {})
            if row["metric"] in frame:
                raise ValueError(f"two rows have the same system, task, subject, seed, frame and metric: {dict(row)}")
            frame[row["metric"]] = row["value"]
        runs = []
        for run, frames in found.items():
            metrics = dict.fromkeys(metric for values in frames.values() for metric in values)
            columns = {metric: [values.get(metric, np.nan) for values in frames.values()] for metric in metrics}
            runs.append(RunScores(*run, list(frames), columns))
        return cls(runs)

    @property
    def systems(self) -> tuple[str, ...]:
        """The systems that have scores."""
        return tuple(dict.fromkeys(system for system, _ in self._runs))

    @property
    def tasks(self) -> tuple[str, ...]:
        """The tasks that have scores."""
        return tuple(dict.fromkeys(task for _, task in self._runs))

    def pairs(self, system: str, other: str, task: str, metric: str) -> Pairs:
        """Pair the scores of two systems by subject, seed, sequence and frame."""
        ours, theirs = (self._of(name, task, metric) for name in (system, other))
        unpaired = sum(len(run.frames) for run in (*ours.values(), *theirs.values()))
        parts = [np.empty((len(LEVELS), 0), np.int64)]
        differences = [np.empty(0)]
        for run in sorted(ours.keys() & theirs.keys()):
            one, another = ours[run], theirs[run]
            keys = (self._keys[one], self._keys[another])
            shared, first, second = np.intersect1d(*keys, assume_unique=True, return_indices=True)
            of_run = [np.full(len(shared), self._code(level, name)) for level, name in zip(LEVELS, run, strict=False)]
            parts.append(np.stack([*of_run, shared >> 32, shared & 0xFFFFFFFF]))
            scores = np.asarray(one.values[metric], float)[first], np.asarray(another.values[metric], float)[second]
            with np.errstate(invalid="ignore"):  # infinity less infinity
                differences.append(np.subtract(*scores))
            unpaired -= 2 * len(shared)
        levels = dict(zip(LEVELS, np.concatenate(parts, axis=1), strict=True))
        names = {level: np.array(list(found), dtype=str) for level, found in self._names.items()}
        return Pairs(levels, np.concatenate(differences), names, unpaired)

    def _code(self, level: str, name: str | int) -> int:
        """Number a name of a level, by the order in which names are first seen."""
        names = self._names[level]
        return names.setdefault(name, len(names))

    def _of(self, system: str, task: str, metric: str) -> dict[tuple[str, int], RunScores]:
        return {run: one for run, one in self._runs.get((system, task), {}).items() if metric in one.values}


@dataclass(frozen=True, eq=False)
class Pairs:
    """Paired differences of two systems, and what they are of.

    Args:
        levels: Level → (N,) positions in its `names`; all of `LEVELS`, or those that were not averaged over.
        difference: (N,) one system's score less the other's; NaN where either is not finite.
        names: Level → its names.
        unpaired: Number of scores without a partner.
    """

    levels: Mapping[str, np.ndarray]
    difference: np.ndarray
    names: Mapping[str, np.ndarray]
    unpaired: int

    def __len__(self) -> int:
        return len(self.difference)

    def finite(self) -> Self:
        """Leave out the differences that are not finite."""
        return self.where(np.isfinite(self.difference))

    def where(self, chosen: np.ndarray) -> Self:
        """Take the rows of a mask (N,)."""
        levels = {level: codes[chosen] for level, codes in self.levels.items()}
        return replace(self, levels=levels, difference=self.difference[chosen])

    def mean_over(self, level: str) -> Self:
        """Average over a level: the result has one row for each combination of the other levels."""
        first, which, count = self._groups(level)
        levels = {name: codes[first] for name, codes in self.levels.items() if name != level}
        return replace(self, levels=levels, difference=np.bincount(which, self.difference, len(first)) / count)

    def variance_over(self, level: str) -> tuple[float, np.ndarray]:
        """Pool the variance over a level within each combination of the others, and count the rows of each.

        The variance is NaN where no combination has two rows.
        """
        first, which, count = self._groups(level)
        away = self.difference - (np.bincount(which, self.difference, len(first)) / count)[which]
        degrees = int((count - 1).sum())
        return float(away @ away) / degrees if degrees else float("nan"), count

    def _groups(self, level: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """First row, number by row, and number of rows of each combination of the levels other than one."""
        key = np.zeros(len(self), np.int64)
        for name, codes in self.levels.items():
            if name != level:
                # Renumbered after each level, so that the product can't overflow.
                key = np.unique(key * max(len(self.names[name]), 1) + codes, return_inverse=True)[1]
        _, first, which, count = np.unique(key, return_index=True, return_inverse=True, return_counts=True)
        return first, which, count
