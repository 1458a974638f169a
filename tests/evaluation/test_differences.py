"""How sure a difference between two models is: intervals, tests and power, against second opinions."""

from __future__ import annotations

import math

import numpy as np
import pytest

from lipflow_core.differences import Difference, Estimate


def normal(*shape):
    return np.random.default_rng(0).standard_normal(shape)


def test_with_sequences_of_equal_length_it_is_the_cluster_robust_error_that_statsmodels_gives():
    api = pytest.importorskip("statsmodels.api")
    sequences = np.repeat(np.arange(8), 5)
    pairs = 0.4 + normal(40) + np.random.default_rng(1).standard_normal(8)[sequences]
    model = api.OLS(pairs, np.ones(40))
    # Without its correction for the number of frames, which concerns regressors that vary within sequences.
    options = {"groups": sequences, "use_correction": False}
    fit = model.fit(cov_type="cluster", cov_kwds=options, use_t=True)
    found = Difference.of(pairs, np.zeros(40), sequences)
    assert found.mean == pytest.approx(fit.params[0])
    assert found.error == pytest.approx(fit.bse[0] * math.sqrt(8 / 7))


def test_the_mean_is_over_sequences_whatever_their_lengths():
    found = Difference.of([1.0, 1.0, 1.0, 4.0], [0.0, 0.0, 0.0, 0.0], ["A", "A", "A", "B"])
    assert (found.mean, found.sequences, found.frames) == (2.5, 2, 4)


def test_interval_and_p_are_those_of_students_t_in_scipy():
    stats = pytest.importorskip("scipy.stats")
    values = 0.3 + normal(9)
    found, test = Estimate.over(values), stats.ttest_1samp(values, 0.1)
    interval = test.confidence_interval(0.95)
    assert found.p_value(0.1) == pytest.approx(test.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


@pytest.mark.parametrize("count", [2, 4, 12])
def test_the_detectable_distance_is_that_of_statsmodels(count):
    power = pytest.importorskip("statsmodels.stats.power").TTestPower()
    estimate = Estimate.over(normal(count))
    spread = estimate.error * math.sqrt(count)
    assert estimate.detectable(0.8) / spread == pytest.approx(
        power.solve_power(nobs=count, alpha=0.05, power=0.8), rel=1e-4
    )


def test_scores_that_are_not_finite_are_left_out_and_counted():
    found = Difference.of([1.0, math.nan, 3.0, math.inf], [0.0, 0.0, math.nan, math.inf], list("ABCD"))
    assert (found.mean, found.frames, found.left_out, found.sequences) == (1.0, 1, 3, 1)


def test_one_sequence_has_no_interval_and_says_why():
    found = Difference.of([1.0, 2.0, 3.0], [0.0, 0.0, 0.0], list("AAA"))
    assert found.mean == 2.0 and str(found) == "–" and not found.told_apart
    assert math.isnan(found.p_value()) and math.isnan(found.detectable())
    assert found.caution.startswith("both models have scores of 1 sequence only")


def test_no_frame_at_all_has_no_difference():
    found = Difference.of([], [], [])
    assert math.isnan(found.mean) and found.frames == found.sequences == 0


def test_sequences_that_all_differ_by_the_same_are_sure_of_it():
    found = Difference.of([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], list("ABC"))
    assert found.told_apart and found.p_value() == 0.0 and found.p_value(1.0) == 1.0


def test_json_has_the_interval_and_null_where_there_is_none():
    found = Difference.of([1.0], [0.0], list("A"))
    data = found.model_dump(mode="json")
    assert data["error"] is data["low"] is data["high"] is None
    assert math.isnan(Difference.model_validate(data).error)
