"""Differences of two systems: within subjects and seeds, and over subjects, and what they can't tell."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lipflow_core.ablation.statistics import Comparison, RunScores, Scores, compare
from lipflow_core.ablation.statistics.sign_flips import sign_flip


def compared(scores):
    return compare(scores, "better", "base", "headset", "psnr")


def test_each_subject_and_seed_has_a_difference_with_its_error_over_sequences(grid):
    found = compared(grid(subjects=3, seeds=2))
    assert [(run.subject, run.seed) for run in found.runs] == [(f"p0{s}", str(r)) for s in (1, 2, 3) for r in (0, 1)]
    assert {(run.frames, run.sequences, run.degrees) for run in found.runs} == {(30, 6, 5)}


def test_seeds_are_averaged_within_subjects_and_students_t_is_over_subjects(grid):
    stats = pytest.importorskip("scipy.stats")
    found = compared(grid(subjects=5, seeds=3, subject=0.2, seed=0.2))
    means = [np.mean([run.mean for run in found.runs if run.subject == one.subject]) for one in found.subjects]
    assert [one.mean for one in found.subjects] == pytest.approx(means)
    assert found.overall.degrees == 4
    assert found.overall.p_value() == pytest.approx(stats.ttest_1samp(means, 0).pvalue)
    assert found.basis == "5 subjects, 3 seeds"


def test_a_single_subject_is_judged_over_its_sequences_and_the_result_says_so(grid):
    found = compared(grid(subjects=1, seeds=2))
    assert found.overall.degrees == 5 and found.basis == "6 sequences of p01, 2 seeds"
    assert found.cautions == (
        "One subject: the interval is over the 6 sequences of p01; how the systems would compare on other people can't "
        "be concluded.",
        "The interval holds for these training runs; further seeds may differ by more.",
    )


def test_one_sequence_of_one_subject_has_no_interval(grid):
    found = compared(grid(subjects=1, sequences=1))
    assert math.isfinite(found.overall.mean) and math.isnan(found.overall.error)
    assert "p01 has one sequence, whose frames resemble each other, so that there is no interval" in found.cautions[0]


def test_one_seed_is_told_in_words(grid):
    assert compared(grid(subjects=6, seeds=1)).cautions == (
        "One seed (0): how far another training run of the same systems would differ can't be concluded.",
    )


def test_few_subjects_are_told_to_be_too_few_for_a_sign_flip_test(grid):
    assert "4 subjects: a sign-flip test can't give a p below 0.125" in compared(grid(subjects=4)).cautions[0]
    assert compared(grid(subjects=6)).cautions == ()


def test_systems_that_share_no_frame_give_no_conclusion(grid):
    found = compare(grid(), "better", "other", "headset", "psnr")
    assert math.isnan(found.overall.mean) and not found.runs
    assert found.cautions[0] == "Nothing can be concluded: no frame of headset has psnr of both systems."


def test_what_was_left_out_is_counted_in_words():
    frames = [("A", 0), ("B", 0), ("C", 0)]
    one = RunScores("better", "headset", "p01", 0, frames, {"psnr": [1.0, 2.0, math.nan]})
    other = RunScores("base", "headset", "p01", 0, [*frames[:2], ("D", 0)], {"psnr": [math.nan, 1.0, 2.0]})
    cautions = compared(Scores([one, other])).cautions
    assert "1 pair of frames left out because one of the two scores is not finite." in cautions
    assert "2 scores left out because the other system has no such run or frame." in cautions


def test_a_comparison_is_read_back_from_its_json(grid):
    found = compared(grid(subjects=1, seeds=1))
    assert Comparison.model_validate_json(found.json_text()).json_text() == found.json_text()


def test_sign_flips_are_those_of_scipys_exact_permutation_test():
    stats = pytest.importorskip("scipy.stats")
    values = 0.5 + np.random.default_rng(0).standard_normal((3, 7))
    for row, p in zip(values, sign_flip(values), strict=True):
        exact = stats.permutation_test((row,), np.mean, permutation_type="samples", n_resamples=np.inf)
        assert p == pytest.approx(exact.pvalue)


def test_four_subjects_that_agree_have_the_smallest_p_that_sign_flips_can_give():
    assert sign_flip(np.array([0.3, 0.2, 0.4, 0.1])) == 0.125
    assert sign_flip(np.array([0.1, 0.1, 0.1, -0.3])) == 1.0


def test_sign_flips_of_many_subjects_are_drawn_and_stay_near_students_t():
    values = 0.4 + np.random.default_rng(1).standard_normal(30)
    stats = pytest.importorskip("scipy.stats")
    assert float(sign_flip(values)) == pytest.approx(stats.ttest_1samp(values, 0).pvalue, abs=0.01)
    assert float(sign_flip(np.ones(30))) > 0
