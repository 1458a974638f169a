"""Scores of a grid are paired by subject, seed, sequence and frame."""

from __future__ import annotations

import math

import pytest

from lipflow_core.ablation.statistics import RunScores, Scores

FRAMES = [("A", 0), ("A", 1), ("B", 0)]


def run(system, values, subject="p01", seed=0, frames=FRAMES):
    return RunScores(system, "headset", subject, seed, frames, {"psnr": values})


def test_frames_are_paired_by_their_names_in_any_order():
    scores = Scores([run("a", [1.0, 2.0, 3.0]), run("b", [30.0, 10.0], frames=[("B", 0), ("A", 0)])])
    pairs = scores.pairs("a", "b", "headset", "psnr")
    assert pairs.difference.tolist() == [-9.0, -27.0]
    assert pairs.names["sequence"][pairs.levels["sequence"]].tolist() == ["A", "B"]
    assert pairs.unpaired == 1


def test_runs_without_a_partner_are_counted():
    scores = Scores([run("a", [1.0] * 3), run("a", [1.0] * 3, seed=1), run("b", [0.0] * 3), run("b", [0.0] * 3, "p02")])
    pairs = scores.pairs("a", "b", "headset", "psnr")
    assert len(pairs) == 3 and pairs.unpaired == 6


def test_a_metric_that_was_not_scored_has_no_pairs():
    assert len(Scores([run("a", [1.0] * 3)]).pairs("a", "b", "headset", "ssim")) == 0


def test_plain_rows_give_the_same_scores():
    columns = ("system", "task", "subject", "seed", "sequence", "frame", "metric", "value")
    rows = [
        dict(zip(columns, (system, "headset", "p01", 0, sequence, frame, "psnr", value), strict=True))
        for system, values in (("a", [1.0, 2.0, math.nan]), ("b", [0.0, 0.0, 0.0]))
        for (sequence, frame), value in zip(FRAMES, values, strict=True)
    ]
    pairs = Scores.of_rows(rows).pairs("a", "b", "headset", "psnr")
    assert pairs.finite().difference.tolist() == [1.0, 2.0]
    with pytest.raises(ValueError, match="two rows have the same system"):
        Scores.of_rows([*rows, rows[0]])


@pytest.mark.parametrize(
    ("runs", "told"),
    [
        (
            lambda: [run("a", [1.0] * 3)] * 2,
            "system 'a', task 'headset', subject 'p01', seed 0: there are two runs of it",
        ),
        (lambda: [run("a", [1.0] * 2)], r"3 frames, but the metrics have \{'psnr': 2\} values"),
        (lambda: [run("a", [1.0] * 3, frames=[("A", 0), ("A", 1), ("A", 0)])], "frame A/0 occurs twice"),
    ],
)
def test_scores_that_contradict_themselves_are_told(runs, told):
    with pytest.raises(ValueError, match=told):
        Scores(runs())
