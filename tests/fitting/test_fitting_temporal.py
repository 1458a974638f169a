"""With a temporal prior the frames of a run are fitted together, and nothing passes its ends."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fitted_avatars import CODE, FLOAT64, fitting, frame_of

from lipflow_core.avatar import frozen
from lipflow_core.errors import SpecError
from lipflow_core.fitting import fit
from lipflow_core.fitting.fit import build_objectives
from lipflow_core.fitting.problem import Problem
from lipflow_core.testing import inputs

OBJECTIVES = [{"type": "photometric", "target": "frontal"}, {"type": "latent-likelihood", "weight": 0.001}]
WALK = {"type": "random-walk", "weight": 0.3, "step": 1.0, "space": "base"}
STRONG = {"temporal": {**WALK, "weight": 5.0}, "optimizer": {"learning_rate": 0.03}}


@pytest.fixture
def walk():
    """(6, D) codes of a face that hardly moves."""
    return inputs.normal(3, 1, CODE, dtype=FLOAT64) + 0.1 * inputs.normal(4, 6, CODE, dtype=FLOAT64)


def sequence(avatar, codes, segments=None, numbers=None):
    """Frames of codes, of one segment and numbered from 3 unless it is told."""
    frame = frame_of(avatar, codes)
    segments = ("smile",) * len(codes) if segments is None else tuple(segments)
    return replace(frame, segments=segments, numbers=torch.arange(len(codes)) + 3 if numbers is None else numbers)


def steps_of(codes):
    return (codes[1:] - codes[:-1]).norm(dim=1)


@pytest.mark.parametrize("space", ["base", "code"])
@pytest.mark.parametrize("moves_in", ["base", "code"])
@pytest.mark.parametrize("model", ["dam", "lip_flow"])
def test_codes_of_a_run_draw_near_to_each_other(model, moves_in, space, walk, request):
    avatar = request.getfixturevalue(model)
    frame = sequence(avatar, 20 * (walk - walk.mean(dim=0)) / 2)
    options = {"steps": 25, "space": moves_in, "start": "zero"}
    alone = fit(avatar, frame, fitting(OBJECTIVES, **options))
    together = fit(avatar, frame, fitting(OBJECTIVES, temporal={**WALK, "space": space}, **options))
    with frozen(avatar):
        prior = Problem.of(avatar, frame, build_objectives(avatar, frame, fitting(OBJECTIVES).objectives)).prior
        paths = [prior.to_base(r.codes) if space == "base" else r.codes for r in (alone, together)]
    assert steps_of(paths[1]).sum() < 0.9 * steps_of(paths[0]).sum()


def test_loss_and_gradient_are_those_of_the_sum_over_the_run(lip_flow, walk):
    options = fitting(OBJECTIVES, temporal=WALK, steps=1, optimizer={"learning_rate": 1e-3})
    frame = sequence(lip_flow, walk)
    result = fit(lip_flow, frame, options)
    with frozen(lip_flow):
        objectives = build_objectives(lip_flow, frame, options.objectives)
        problem = Problem.of(lip_flow, frame, objectives)
        codes = result.starts.clone().requires_grad_(True)
        weights = torch.tensor([objective.config.final_weight for objective in objectives.values()], dtype=FLOAT64)
        path = problem.prior.to_base(codes)
        energy = 0.5 * (path[1:] - path[:-1]).square().mean(dim=1).sum()
        total = (problem.losses(codes) @ weights).sum() + 0.3 * energy
        (slope,) = torch.autograd.grad(total, codes)
    torch.testing.assert_close(result.curves["total"][:, 0].sum(), total.detach())
    torch.testing.assert_close(result.curves["temporal"][:, 0].sum(), energy.detach())
    # Adam's first step is its learning rate against each sign.
    assert (result.best_steps == 1).all()
    torch.testing.assert_close(result.codes, result.starts - 1e-3 * slope.sign(), rtol=0, atol=1e-6)


def test_segments_and_gaps_in_the_frame_numbers_part_runs(dam, codes):
    segments, numbers = ["a", "a", "a", "a", "b"], torch.tensor([0, 1, 3, 4, 5])
    frame = sequence(dam, codes, segments, numbers)
    options = fitting(OBJECTIVES, steps=40, **STRONG)
    together = fit(dam, frame, options)
    for rows in ([0, 1], [2, 3], [4]):
        apart = fit(dam, frame.rows(torch.tensor(rows)), options)
        torch.testing.assert_close(together.codes[rows], apart.codes, rtol=0, atol=1e-9)
        assert together.steps[rows].tolist() == apart.steps.tolist()
    assert steps_of(together.codes)[[0, 2]].max() < 0.1 * steps_of(together.codes)[[1, 3]].min()


def test_a_frame_without_neighbours_is_fitted_as_without_a_temporal_prior(dam, codes):
    frame = sequence(dam, codes, numbers=torch.tensor([0, 2, 4, 6, 8]))
    alone, together = (
        fit(dam, frame, fitting(OBJECTIVES, steps=12, **options)) for options in ({}, {"temporal": WALK})
    )
    assert torch.equal(alone.codes, together.codes)


@pytest.mark.parametrize("batch", [1, 2, 4])
def test_a_run_that_is_longer_than_a_batch_is_fitted_as_one(batch, dam, walk):
    frame = sequence(dam, walk)
    whole, parted = (fit(dam, frame, fitting(OBJECTIVES, temporal=WALK, steps=12, batch=b)) for b in (16, batch))
    torch.testing.assert_close(whole.as_tensors(), parted.as_tensors(), rtol=0, atol=1e-9, equal_nan=True)


def test_only_so_many_frames_are_decoded_at_once(dam, walk):
    frame, sizes, forward = sequence(dam, walk), [], dam.decoder.decode
    dam.decoder.decode = lambda code, direction: sizes.append(len(code)) or forward(code, direction)
    try:
        fit(dam, frame, fitting(OBJECTIVES, temporal=WALK, steps=2, batch=4))
    finally:
        del dam.decoder.decode
    assert max(sizes) == 4


def test_the_order_of_the_frames_does_not_matter(dam, walk):
    frame, options = sequence(dam, walk), fitting(OBJECTIVES, temporal=WALK, steps=12)
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    sorted_, shuffled = fit(dam, frame, options), fit(dam, frame.rows(order), options)
    torch.testing.assert_close(sorted_.codes[order], shuffled.codes, rtol=0, atol=1e-9)


def test_runs_are_fitted_one_after_another_where_they_do_not_fit_together(dam, codes):
    segments, numbers = ["a", "a", "b", "b", "c"], torch.tensor([0, 1, 0, 1, 0])
    frame = sequence(dam, codes, segments, numbers)
    options = {"temporal": WALK, "steps": 40, "patience": 3, "optimizer": {"learning_rate": 0.5}}
    whole, parted = (fit(dam, frame, fitting(OBJECTIVES, batch=b, **options)) for b in (16, 3))
    torch.testing.assert_close(whole.codes, parted.codes, rtol=0, atol=1e-9)
    assert whole.steps.tolist() == parted.steps.tolist()


def test_a_run_stops_as_one_and_is_kept_as_it_was_when_its_loss_was_lowest(dam, walk):
    options = fitting(OBJECTIVES, temporal=WALK, steps=150, patience=3, optimizer={"learning_rate": 0.5})
    result = fit(dam, sequence(dam, walk), options)
    assert len(set(result.steps.tolist())) == len(set(result.best_steps.tolist())) == 1
    best = int(result.best_steps[0])
    assert int(result.steps[0]) == best + 3
    of_run = result.curves["total"].sum(dim=0).nan_to_num(nan=torch.inf)
    assert int(of_run.argmin()) == best
    torch.testing.assert_close(result.losses, result.curves["total"][:, best])


@pytest.mark.parametrize("after", [0, 2])
def test_a_frame_that_is_not_finite_parts_its_run_and_stops_alone(after, dam, walk):
    frame, calls = sequence(dam, walk), []
    decode = dam.decoder.decode

    def breaking(code, direction):
        calls.append(1)
        face = decode(code, direction)
        bad = (torch.arange(len(code)) == 2) & (len(calls) > after) & (len(code) == len(walk))
        return replace(face, vertices=torch.where(bad[:, None, None], torch.nan, face.vertices))

    dam.decoder.decode = breaking
    try:
        result = fit(dam, frame, fitting(OBJECTIVES, steps=30, **STRONG))
    finally:
        del dam.decoder.decode
    others = torch.arange(len(walk)) != 2
    assert result.nonfinite.tolist() == (~others).tolist()
    assert (result.losses.isfinite() == (others | torch.tensor(after > 0))).all()
    assert result.codes.isfinite().all() and (result.steps[others] > after + 1).all()
    steps = steps_of(result.codes)
    assert steps[[0, 3, 4]].max() < 0.1 * steps[[1, 2]].min()


def test_a_frame_that_shows_nothing_is_filled_in_from_its_neighbours(dam, walk):
    frame = sequence(dam, walk)
    views = frame["frontal"]
    mask = views.mask.clone()
    mask[2] = 0
    poor = replace(frame, observations={**frame.observations, "frontal": replace(views, mask=mask)})
    codes = fit(dam, poor, fitting(OBJECTIVES[:1], steps=60, **STRONG)).codes
    assert (codes[2] - codes[[1, 3]].mean(dim=0)).norm() < 0.2 * codes[2].norm()


def test_the_pose_is_left_alone(dam, walk):
    options = {"steps": 8, "pose": {}, "perturbation": {}, **STRONG}
    frame = sequence(dam, walk)
    result = fit(dam, frame, fitting([{"type": "photometric", "target": "headset"}], **options))
    turned = (result.poses[1:, :, :3] - result.poses[:-1, :, :3]).flatten(1).norm(dim=1)
    assert (turned > 1e-3).all()


def test_a_grid_is_searched_frame_by_frame(dam, walk):
    frame = sequence(dam, walk)
    grid = {"learning_rate": [0.1, 0.2], "latent_weight": [0.01]}
    alone, together = (
        fit(dam, frame, fitting(OBJECTIVES, steps=4, grid=grid, **options)) for options in ({}, {"temporal": WALK})
    )
    assert alone.grid == together.grid
    assert not torch.equal(alone.codes, together.codes)


def test_a_base_space_that_the_prior_lacks_is_an_error(dam, walk):
    class Baseless(type(dam.prior.condition(None))):
        def to_base(self, code):
            raise NotImplementedError

    condition = dam.prior.condition
    dam.prior.condition = lambda driving: Baseless(condition(driving).mean, condition(driving).log_std, broadcasts=True)
    try:
        with pytest.raises(SpecError, match=r"fitting\.temporal\.space is 'base', but the prior"):
            fit(dam, sequence(dam, walk), fitting(OBJECTIVES, temporal=WALK, steps=1))
    finally:
        del dam.prior.condition
