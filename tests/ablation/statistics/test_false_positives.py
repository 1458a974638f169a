"""Without a true difference 5 % of the tests find one; over single frames many more do."""

from __future__ import annotations

import numpy as np
import pytest

from lipflow_core.ablation.statistics.claims import holm
from lipflow_core.ablation.statistics.sign_flips import sign_flip
from lipflow_core.differences import Difference, mean_and_error, p_value, sequence_means

TRIALS = 20_000
"""Simulated evaluations of each design: the share of false positives has a standard error of 0.15 %."""
DESIGNS = {
    "12 sequences of 3 frames": [3] * 12,
    "2 sequences of 20 frames": [20, 20],
    "3 sequences, unequal": [5, 10, 40],
    "4 sequences, unequal": [5, 10, 20, 80],
    "6 sequences, unequal": [4, 8, 8, 12, 40, 80],
    "10 sequences, one long": [10] * 9 + [90],
    "20 sequences, unequal": [5] * 10 + [30] * 10,
}


def names(lengths):
    return np.repeat(np.arange(len(lengths)), lengths)


def clustered(lengths, seed=0, trials=TRIALS):
    """Paired differences (trials, N) of mean 0, half of whose variance is between sequences."""
    random = np.random.default_rng(seed)
    of_sequence = random.standard_normal((trials, len(lengths)))
    return of_sequence[:, names(lengths)] + random.standard_normal((trials, sum(lengths)))


def drifting(lengths, seed=0, trials=10_000):
    """Paired differences of mean 0 that drift within a sequence: each frame resembles the one before by 0.95."""
    random = np.random.default_rng(seed)
    found = random.standard_normal((trials, sum(lengths)))
    of = names(lengths)
    for i in range(1, len(of)):
        if of[i] == of[i - 1]:
            found[:, i] = 0.95 * found[:, i - 1] + np.sqrt(1 - 0.95**2) * found[:, i]
    return found


def rejected(values):
    """Share of rows of independent values in which Student's t finds a difference."""
    return float((p_value(*mean_and_error(values), values.shape[-1] - 1) <= 0.05).mean())


def cluster_robust(differences, lengths):
    """Share that the usual cluster-robust error of the mean over frames (CR1) rejects."""
    weights, count = np.array(lengths) / sum(lengths), len(lengths)
    means = sequence_means(differences, names(lengths))
    mean = means @ weights
    error = np.sqrt(((weights * (means - mean[:, None])) ** 2).sum(axis=1) * count / (count - 1))
    return float((p_value(mean, error, count - 1) <= 0.05).mean())


@pytest.mark.parametrize("design", DESIGNS)
def test_clustered_intervals_have_5_percent_of_false_positives_and_framewise_ones_many_more(design):
    lengths = DESIGNS[design]
    differences = clustered(lengths)
    assert rejected(sequence_means(differences, names(lengths))) == pytest.approx(0.05, abs=0.01)
    assert rejected(differences) > 0.15


@pytest.mark.parametrize("design", DESIGNS)
def test_frames_that_drift_within_their_sequence_have_5_percent_as_well(design):
    lengths = DESIGNS[design]
    differences = drifting(lengths)
    assert rejected(sequence_means(differences, names(lengths))) == pytest.approx(0.05, abs=0.01)


def test_the_usual_cluster_robust_error_is_too_small_where_few_sequences_have_unequal_lengths():
    lengths = DESIGNS["4 sequences, unequal"]
    assert cluster_robust(clustered(lengths), lengths) > 0.15
    assert cluster_robust(clustered([20] * 6), [20] * 6) == pytest.approx(0.05, abs=0.01)


def test_the_simulation_tests_what_a_difference_computes():
    lengths = DESIGNS["6 sequences, unequal"]
    for row in clustered(lengths, trials=5):
        difference = Difference.of(row, np.zeros(len(row)), names(lengths))
        means = sequence_means(row, names(lengths))
        assert difference.p_value() == pytest.approx(float(p_value(*mean_and_error(means), len(lengths) - 1)))
        assert difference.told_apart == (difference.p_value() < 0.05)


def hierarchical(subjects, seeds=2, lengths=(5, 10, 20), seed=0):
    """Means (trials, S) of subjects whose seeds, sequences and frames vary as much as they do."""
    random = np.random.default_rng(seed)
    shape = (TRIALS, subjects)
    frames = random.standard_normal((*shape, sum(lengths))) + random.standard_normal((*shape, 3))[..., names(lengths)]
    runs = random.standard_normal((*shape, seeds)).mean(axis=-1)
    return random.standard_normal(shape) + runs + sequence_means(frames, names(lengths)).mean(axis=-1)


@pytest.mark.parametrize("subjects", [2, 4, 8])
def test_the_test_over_subjects_has_5_percent_of_false_positives(subjects):
    assert rejected(hierarchical(subjects)) == pytest.approx(0.05, abs=0.01)


def test_the_sign_flip_test_has_the_share_that_its_patterns_allow():
    p = sign_flip(hierarchical(8))
    assert (p <= 0.05).mean() == pytest.approx(12 / 256, abs=0.01)


@pytest.mark.parametrize("shared", [0.0, 0.5])
def test_any_of_six_true_nulls_is_rejected_in_5_percent_after_holm(shared):
    random = np.random.default_rng(0)
    common = random.standard_normal((TRIALS, 1, 8))  # a baseline that all claims are about
    values = np.sqrt(shared) * common + np.sqrt(1 - shared) * random.standard_normal((TRIALS, 6, 8))
    p = p_value(*mean_and_error(values), 7)
    assert (p.min(axis=1) <= 0.05).mean() > 0.13
    wrong = (holm(p).min(axis=1) <= 0.05).mean()
    assert wrong == pytest.approx(0.05, abs=0.01) if shared == 0 else 0.03 < wrong < 0.06


def test_true_nulls_beside_real_effects_are_rejected_in_5_percent_after_holm():
    random = np.random.default_rng(0)
    values = random.standard_normal((TRIALS, 6, 8)) + np.array([9, 9, 9, 0, 0, 0])[:, None]
    corrected = holm(p_value(*mean_and_error(values), 7))
    assert (corrected[:, :3] <= 0.05).mean() > 0.99
    assert (corrected[:, 3:].min(axis=1) <= 0.05).mean() == pytest.approx(0.05, abs=0.01)
