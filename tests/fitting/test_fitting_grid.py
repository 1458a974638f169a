"""All points of a hyper-parameter grid are fitted together, and equal separate fits."""

from __future__ import annotations

import json

import pytest
import torch
from fitted_avatars import fitting, frame_of, part

from lipflow_core.avatar import frozen
from lipflow_core.errors import SpecError
from lipflow_core.fitting import choose, fit
from lipflow_core.fitting.fit import build_objectives
from lipflow_core.fitting.loop import minimize
from lipflow_core.fitting.problem import Problem
from lipflow_core.fitting.result import GridChoice
from lipflow_core.parts import MetricSlot
from lipflow_core.scoring import build_metrics, default_metric, score

LIKELIHOOD = {"type": "latent-likelihood", "weight": 0.01}


def test_grid_rows_equal_separate_fits(lip_flow, codes):
    frame = frame_of(lip_flow, codes[:2])
    options = fitting(["keypoint", LIKELIHOOD], steps=15)
    points = [(0.02, 0.1), (0.02, 0.001), (0.3, 0.1)]
    with frozen(lip_flow):
        problem = Problem.of(lip_flow, frame, build_objectives(lip_flow, frame, options.objectives))
        together = minimize(
            problem,
            options,
            options.optimizer.build(options.optimizer_inputs(problem.code_size)),
            frames=torch.arange(2).repeat_interleave(3),
            learning_rate=torch.tensor([rate for rate, _ in points] * 2, dtype=torch.float64),
            weights=torch.tensor([[1.0, weight] for _, weight in points] * 2, dtype=torch.float64),
        )
    for i, (rate, weight) in enumerate(points):
        objectives = ["keypoint", {**LIKELIHOOD, "weight": weight}]
        alone = fit(lip_flow, frame, fitting(objectives, steps=15, optimizer={"learning_rate": rate}))
        torch.testing.assert_close(together.codes[i::3], alone.codes, rtol=0, atol=1e-9)


def test_the_grid_chooses_the_best_score(lip_flow, codes):
    frame = frame_of(lip_flow, codes)
    grid = {"learning_rate": [0.001, 0.05, 0.2], "latent_weight": [0.1, 0.001], "frames": 3}
    options = fitting(["keypoint", LIKELIHOOD], steps=10, grid=grid)
    choice = choose(lip_flow, frame.rows(torch.arange(3)), options)
    assert (choice.metric, choice.unit) == ("PSNR", "dB")
    assert len(choice.points) == 6
    assert choice.frames == 3
    assert choice.score == max(point.score for point in choice.points)
    metric = {"psnr": default_metric(lip_flow)}
    for point in choice.points:
        objectives = ["keypoint", {**LIKELIHOOD, "weight": point.latent_weight}]
        first = frame.rows(torch.arange(3))
        alone = fit(lip_flow, first, fitting(objectives, steps=10, optimizer={"learning_rate": point.learning_rate}))
        scores, _ = score(lip_flow, alone.codes, first, metric)
        assert abs(float(scores["psnr"].mean()) - point.score) < 1e-3


def test_a_metric_whose_lower_values_are_better_chooses_the_lowest(dam, codes):
    frame = frame_of(dam, codes[:3])
    metric = build_metrics(dam, [part(MetricSlot, "millimetres")])["millimetres"]
    grid = {"learning_rate": [1e-5, 0.1], "latent_weight": [0.01], "frames": 3}
    choice = choose(dam, frame, fitting(["keypoint"], steps=10, grid=grid), metric=metric)
    assert choice.score == min(point.score for point in choice.points)
    assert choice.learning_rate == 0.1 and choice.describe().endswith("mm; tried on 3 frames)")


@pytest.mark.parametrize("empty", [[1], [0, 1, 2]])
def test_frames_with_an_empty_mask_do_not_choose(empty, dam, codes):
    frame = frame_of(dam, codes[:3])
    grid = {"learning_rate": [1e-5, 0.1], "latent_weight": [0.01], "frames": 3}
    options = fitting(["keypoint"], steps=10, grid=grid)
    frame["frontal"].mask[empty] = 0
    choice = choose(dam, frame, options)
    data = json.loads(choice.json_text())
    if len(empty) == 3:
        assert data["score"] is None
        assert "no frame could be scored" in GridChoice.model_validate(data).describe()
    else:
        assert choice.learning_rate == 0.1
        assert GridChoice.model_validate(data) == choice


def test_fit_uses_what_the_grid_chose(dam, codes):
    frame = frame_of(dam, codes)
    grid = {"learning_rate": [0.001, 0.1], "latent_weight": [0.1, 0.001], "frames": 2}
    result = fit(dam, frame, fitting(["keypoint", LIKELIHOOD], steps=10, grid=grid))
    chosen = [{**LIKELIHOOD, "weight": result.grid.latent_weight}]
    alone = fit(
        dam, frame, fitting(["keypoint", *chosen], steps=10, optimizer={"learning_rate": result.grid.learning_rate})
    )
    torch.testing.assert_close(result.codes, alone.codes, rtol=0, atol=1e-9)


def test_a_choice_at_the_edge_of_its_grid_is_flagged(dam, codes):
    frame = frame_of(dam, codes[:2])
    grid = {"learning_rate": [1e-5, 1e-4, 0.1], "latent_weight": [0.01], "frames": 2}
    choice = choose(dam, frame, fitting(["keypoint", LIKELIHOOD], steps=10, grid=grid))
    assert choice.at_edge == ("learning_rate",)
    assert "learning rate lies at the edge of its grid" in choice.warning()


def test_without_a_latent_objective_only_the_learning_rate_is_searched(dam, codes):
    grid = {"learning_rate": [0.01, 0.1], "latent_weight": [0.1, 0.01, 0.001]}
    choice = choose(dam, frame_of(dam, codes[:2]), fitting(["keypoint"], steps=3, grid=grid))
    assert choice.latent_weight is None
    assert len(choice.points) == 2


def one_frame(dam, codes, **grid):
    frame = frame_of(dam, codes[:2])
    metric = build_metrics(dam, [part(MetricSlot, "millimetres")])["millimetres"]
    return choose(dam, frame, fitting(["keypoint"], steps=10, grid=grid), metric=metric)


def test_a_grid_is_extended_until_the_best_value_lies_inside(dam, codes):
    choice = one_frame(dam, codes, learning_rate=[1e-4, 1e-3], extend=True, extensions=9)
    tried = [point.learning_rate for point in choice.points]
    assert tried == pytest.approx([10.0**n for n in range(-4, len(tried) - 4)])
    assert tried[0] < choice.learning_rate < tried[-1] and choice.at_edge == ()
    assert choice.warning() is None


def test_a_grid_is_extended_downwards_too(dam, codes):
    choice = one_frame(dam, codes, learning_rate=[1.6, 0.8], extend=True, extensions=12)
    tried = [point.learning_rate for point in choice.points]
    assert tried == pytest.approx([1.6 / 2**n for n in range(len(tried))])
    assert min(tried) < choice.learning_rate < max(tried)


def test_a_grid_is_extended_no_more_often_than_its_limit(dam, codes):
    choice = one_frame(dam, codes, learning_rate=[1e-7, 1e-6], extend=True, extensions=2)
    assert [point.learning_rate for point in choice.points] == pytest.approx([1e-7, 1e-6, 1e-5, 1e-4])
    assert choice.at_edge == ("learning_rate",)


def test_a_weight_of_zero_is_where_an_axis_ends(dam, codes):
    frame = frame_of(dam, 2 * codes[:2])
    metric = build_metrics(dam, [part(MetricSlot, "millimetres")])["millimetres"]
    grid = {"learning_rate": [0.1], "latent_weight": [0.0, 10.0], "extend": True}
    choice = choose(dam, frame, fitting(["keypoint", LIKELIHOOD], steps=20, grid=grid), metric=metric)
    assert choice.latent_weight == 0 and len(choice.points) == 2


def test_an_extended_point_scores_as_it_would_in_the_grid(dam, codes):
    extended = one_frame(dam, codes, learning_rate=[1e-3, 1e-2], extend=True, extensions=3)
    whole = one_frame(dam, codes, learning_rate=[point.learning_rate for point in extended.points])
    for one, other in zip(extended.points, whole.points, strict=True):
        assert one.score == pytest.approx(other.score, rel=1e-9)


def test_a_fit_of_some_frames_alone_can_not_choose_on_others(dam, codes):
    options = fitting(["keypoint"], grid={"choose_on": "training"})
    with pytest.raises(SpecError, match="choose_on is 'training', but only frames to be fitted were given"):
        fit(dam, frame_of(dam, codes), options)
