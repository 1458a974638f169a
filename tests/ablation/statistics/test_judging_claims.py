"""Claims hold, do not hold or stay undecided, corrected for their number."""

from __future__ import annotations

import math

import numpy as np
import pytest
from pydantic import ValidationError

from lipflow_core.ablation.statistics import Claim, Finding, judge
from lipflow_core.ablation.statistics.claims import holm
from lipflow_core.differences import Estimate, mean_and_error, p_value
from lipflow_core.errors import SpecError

SIDES = {"psnr": True, "geom": False, "travelled": None}


def claim(text):
    return Claim.model_validate(text)


def judged(scores, *texts):
    return judge(scores, [claim(text) for text in texts], SIDES)


def test_a_claim_is_read_from_its_text_and_written_as_it():
    found = claim("  lip-flow >  lip-kl by 0.10 psnr on masked-frontal ")
    assert found == Claim(system="lip-flow", other="lip-kl", margin=0.1, metric="psnr", task="masked-frontal")
    assert str(found) == "lip-flow > lip-kl by 0.1 psnr on masked-frontal" and claim(str(found)) == found


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a < b by 0.1 psnr on headset", "is not a claim such as 'a > b by 0.1 METRIC on TASK'"),
        ("a > b on headset", "is not a claim such as"),
        ("a > b by much psnr on headset", "unable to parse string as a number"),
        ("a > b by inf psnr on headset", "should be a finite number"),
        ("a > a by 0.1 psnr on headset", "the claim compares 'a' with itself"),
    ],
)
def test_what_is_no_claim_is_told(text, told):
    with pytest.raises(ValidationError, match=told):
        claim(text)


def test_a_gain_that_is_surely_above_the_margin_holds_and_one_surely_below_does_not(grid):
    scores = grid(gain=0.5, subjects=6, subject=0.05)
    holds, not_so, reverse = judged(
        scores,
        "better > base by 0.1 psnr on headset",
        "better > base by 1 psnr on headset",
        "base > better by 0 psnr on headset",
    )
    assert (holds.verdict, not_so.verdict, reverse.verdict) == ("holds", "does not hold", "does not hold")
    assert reverse.gain.mean == pytest.approx(-holds.gain.mean)


def test_a_gain_near_the_margin_is_undecided_and_tells_what_would_have_been_seen(grid):
    (found,) = judged(grid(gain=0.5, subjects=4, subject=0.3), "better > base by 0.4 psnr on headset")
    assert found.verdict == "undecided" and found.gain.low < 0.4 < found.gain.high < found.detectable
    assert f"A true gain of {found.detectable:.3g} would have been shown with a probability of 80 %." in found.sentence


def test_better_means_lower_where_lower_is_better(grid):
    (found,) = judged(grid(gain=0.5, metric="geom"), "base > better by 0.1 geom on headset")
    assert found.verdict == "holds" and found.gain.mean > 0 > found.comparison.overall.mean


def test_a_negative_margin_claims_to_be_no_worse(grid):
    (found,) = judged(grid(gain=0.0, subjects=6), "better > base by -0.1 psnr on decode")
    assert found.verdict == "undecided"
    (found,) = judged(grid(gain=0.0, subjects=6, task="decode"), "better > base by -0.1 psnr on decode")
    assert found.verdict == "holds"


def test_what_one_claim_shows_alone_may_be_undecided_among_many(grid):
    scores = grid(gain=0.5, subjects=4, subject=0.2, random=3)
    texts = [f"better > base by {0.1 + i / 1000} psnr on headset" for i in range(8)]
    (alone,), many = judged(scores, texts[0]), judged(scores, *texts)
    assert alone.verdict == "holds" and many[0].verdict == "undecided"
    assert many[0].p == alone.p and many[0].p_corrected > alone.p_corrected and many[0].detectable > alone.detectable
    assert "Alone the claim would be decided" in many[0].sentence


def test_claims_without_scores_are_undecided_and_count_for_the_correction(grid):
    scores = grid(subjects=6)
    found = judged(scores, "better > base by 0.1 psnr on headset", "lost > base by 0.1 psnr on headset")
    assert [one.verdict for one in found] == ["holds", "undecided"]
    assert found[1].sentence == (
        "lost > base by 0.1 psnr on headset: undecided, since there is no interval (0 subjects, 0 seeds)."
    )
    assert found[0].p_corrected == pytest.approx(2 * found[0].p) and math.isnan(found[1].p)


@pytest.mark.parametrize(("metric", "told"), [("travelled", "has no better side"), ("ssim", "is not scored")])
def test_a_claim_on_a_metric_without_sides_is_an_error_that_names_others(grid, metric, told):
    with pytest.raises(SpecError, match=f"metric '{metric}' {told}\n  Choose one of psnr, geom"):
        judged(grid(), f"better > base by 0.1 {metric} on headset")


def test_no_claims_have_no_findings(grid):
    assert judged(grid()) == ()


def test_holm_is_that_of_statsmodels():
    multitest = pytest.importorskip("statsmodels.stats.multitest")
    p = np.random.default_rng(0).uniform(0, 0.1, (5, 7))
    for row, corrected in zip(p, holm(p), strict=True):
        assert corrected == pytest.approx(multitest.multipletests(row, method="holm")[1])


def test_the_detectable_gain_is_shown_with_a_probability_of_80_percent():
    random = np.random.default_rng(0)
    values = random.standard_normal((20_000, 6))
    exact = Estimate(mean=0.0, error=1 / math.sqrt(6), degrees=5).detectable()
    shown = p_value(*mean_and_error(values + exact), 5) <= 0.05
    assert shown.mean() == pytest.approx(0.8, abs=0.01)


def test_a_finding_is_read_back_from_its_json(grid):
    (found,) = judged(grid(), "better > base by 0.1 psnr on headset")
    assert Finding.model_validate_json(found.json_text()) == found
