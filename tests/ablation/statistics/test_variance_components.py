"""The variance of a difference by subject, seed, sequence and frame, and the advice that follows."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest

from lipflow_core.ablation.statistics import Components, compare
from lipflow_core.ablation.statistics.scores import LEVELS

SPREADS = {"subject": 0.4, "seed": 0.3, "sequence": 0.5, "frame": 0.6}


def components(scores):
    return Components.of(scores.pairs("better", "base", "headset", "psnr").finite())


def test_they_are_recovered_from_a_grid_that_has_them(grid):
    found = components(grid(subjects=400, seeds=3, sequences=6, frames=4, **SPREADS))
    for level, spread in SPREADS.items():
        assert found.variance[level] == pytest.approx(spread**2, rel=0.15)


def test_what_they_add_sums_to_the_squared_error_over_subjects(grid):
    scores = grid(subjects=12, **SPREADS)
    found = compare(scores, "better", "base", "headset", "psnr")
    assert sum(found.components.added.values()) == pytest.approx(found.overall.error**2)


def test_sequences_and_frames_are_those_of_a_mixed_model_in_statsmodels(grid):
    regression = pytest.importorskip("statsmodels.regression.mixed_linear_model")
    pairs = grid(subjects=1, seeds=1, sequences=20, frames=6, sequence=0.5, frame=0.6).pairs(
        "better", "base", "headset", "psnr"
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = regression.MixedLM(pairs.difference, np.ones(len(pairs)), pairs.levels["sequence"]).fit()
    found = Components.of(pairs)
    assert found.variance["frame"] == pytest.approx(fit.scale, rel=1e-3)
    assert found.variance["sequence"] == pytest.approx(float(np.asarray(fit.cov_re)[0, 0]), rel=1e-3)


@pytest.mark.parametrize("level", LEVELS)
def test_the_level_that_varies_most_is_the_one_that_would_help(grid, level):
    spreads = {**dict.fromkeys(LEVELS, 0.01), level: 1.0}
    found = components(grid(subjects=100, **spreads))
    assert found.advice.startswith(f"More {level}s would help most. Estimated shares of the squared error: subjects ")
    assert max(found.shares, key=found.shares.get) == level
    assert sum(found.shares.values()) == pytest.approx(1)


def test_a_level_of_one_member_is_unknown_and_the_advice_says_so(grid):
    found = components(grid(subjects=1, seeds=1, sequence=0.5))
    assert math.isnan(found.variance["subject"]) and math.isnan(found.variance["seed"])
    assert found.advice.endswith(
        " The share of subjects is unknown, since there is one. The share of seeds is unknown, since there is one."
    )
    found = components(grid(seeds=1, frames=1, subject=0.5))
    assert found.advice.endswith(
        " With one seed each, the share of subjects includes that of seeds."
        " With one frame each, the share of sequences includes that of frames."
    )


def test_one_sequence_of_one_subject_gives_no_advice(grid):
    assert components(grid(subjects=1, sequences=1)).advice == (
        "What would make the difference surer can't be told: two subjects or two sequences are needed for that."
    )


def test_nothing_to_compare_has_no_components(grid):
    found = Components.of(grid().pairs("better", "other", "headset", "psnr"))
    assert all(math.isnan(value) for value in found.variance.values())
    assert found.advice.startswith("What would make the difference surer can't be told")
