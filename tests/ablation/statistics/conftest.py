"""Grids of known differences."""

from __future__ import annotations

import numpy as np
import pytest

from lipflow_core.ablation.statistics import RunScores, Scores


@pytest.fixture
def grid():
    """Make the scores of a grid: `better` by `gain` than `base`, which differ by what varies."""
    return make


def make(
    gain=0.5, subjects=4, seeds=2, sequences=6, frames=5, subject=0.0, seed=0.0, sequence=0.0, frame=0.1, random=0,
    metric="psnr", task="headset",
):  # fmt: skip
    """Standard deviations of the levels are given by their names."""
    generator = np.random.default_rng(random)
    runs, named = [], [(f"SEQ_{q}", f) for q in range(sequences) for f in range(frames)]
    of_sequence = np.repeat(np.arange(sequences), frames)
    for s in range(subjects):
        of_subject = gain + subject * generator.standard_normal()
        shared = sequence * generator.standard_normal(sequences)[of_sequence]
        shared = shared + frame * generator.standard_normal(len(named))
        for r in range(seeds):
            base = 30 + generator.standard_normal(len(named))
            better = base + of_subject + seed * generator.standard_normal() + shared
            for name, values in (("base", base), ("better", better)):
                runs.append(RunScores(name, task, f"p{s + 1:02d}", r, named, {metric: values}))
    return Scores(runs)
