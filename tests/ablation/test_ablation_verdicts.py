"""What is printed of verdicts: their cautions, and what these are of."""

from __future__ import annotations

import math

from lipflow_core.ablation.claims import Claim
from lipflow_core.ablation.statistics import RunScores, Scores, compare, judge
from lipflow_core.ablation.table import heading
from lipflow_core.ablation.verdicts import Verdicts
from lipflow_core.evaluation.result import Column

PSNR = Column(heading="PSNR", unit="dB", digits=2, higher_is_better=True)
FRAMES = [("smile", 1), ("smile", 2), ("blink", 1), ("blink", 2)]


def run(system, task, values):
    return RunScores(system, task, "p01", 0, FRAMES, {"psnr": values})


def told(claims, *runs, **more):
    findings = judge(Scores(runs), claims, {"psnr": True})
    return Verdicts(baseline="a", metrics={"psnr": PSNR}, findings=findings, **{"differences": (), **more}).text()


def claim(task):
    return Claim.model_validate(f"b > a by 0.1 psnr on {task}")


def runs(task, last=31.5):
    return run("a", task, [30, 30.5, 30, 30.5]), run("b", task, [31, 31.7, 31, last])


def test_a_caution_of_one_claim_names_it_and_one_of_all_stands_once():
    text = told([claim("x"), claim("y")], *runs("x"), *runs("y", last=math.nan))
    assert "caution (claim 2): 1 pair of frames left out" in text
    assert text.count("caution: One subject") == 1


def test_a_single_claim_has_no_number():
    text = told([claim("x")], *runs("x"))
    assert text.startswith("b > a by 0.1 psnr on x: ") and "claim 1" not in text


def test_differences_to_the_baseline_are_told_with_their_interval():
    scores = runs("x")
    text = told([], *scores, differences=(compare(Scores(scores), "b", "a", "x", "psnr"),))
    assert "system − a" in text and "PSNR ↑ dB" in text and "+1.05 ± 0.64" in text


def test_a_unit_that_is_the_heading_stands_once():
    assert heading(Column(heading="mm", unit="mm", higher_is_better=False)) == "mm ↓"
