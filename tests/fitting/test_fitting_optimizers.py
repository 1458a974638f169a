"""Every optimizer in the loop of fitting, and the curvature that some of them ask for."""

from __future__ import annotations

import pytest
import torch
from fitted_avatars import FLOAT64, fitting, frame_of, make_avatar, part
from lipflow_optimizers.config import LevenbergMarquardtConfig
from lipflow_optimizers.levenberg_marquardt import LevenbergMarquardtOptimizer

from lipflow_core.avatar import frozen
from lipflow_core.errors import SpecError
from lipflow_core.fitting import fit
from lipflow_core.fitting.curvature import gauss_newton, split
from lipflow_core.fitting.fit import build_objectives
from lipflow_core.fitting.problem import Problem
from lipflow_core.interfaces import ConditionedPrior, LossAtPoint
from lipflow_core.parts import PriorSlot
from lipflow_core.plans import OptimizerInputs
from lipflow_core.registry import default_registry
from lipflow_core.testing import inputs

OPTIMIZERS = default_registry().names("optimizer")
SECOND_ORDER = [name for name in OPTIMIZERS if name != "adam"]
LIKELIHOOD = {"type": "latent-likelihood", "weight": 0.001}


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
def test_a_code_is_recovered_from_its_own_keypoints_in_fewer_steps(optimizer, dam, codes):
    frame = frame_of(dam, codes)
    result = fit(dam, frame, fitting(["keypoint"], steps=40, optimizer={"type": optimizer, "tolerance": 1e-9}))
    assert (result.codes - codes).norm(dim=1).max() < 0.1 * codes.norm(dim=1).min()


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
def test_pictures_are_fitted_with_the_pose(optimizer, dam, codes):
    objectives = [{"type": "photometric", "target": "headset"}, LIKELIHOOD]
    result = fit(dam, frame_of(dam, codes[:2]), fitting(objectives, steps=20, optimizer=optimizer, pose={}))
    assert (result.losses < 0.7 * result.curves["total"][:, 0]).all()
    assert result.poses.isfinite().all()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_row_does_not_depend_on_how_many_are_at_work_together(optimizer, lip_flow, codes):
    frame = frame_of(lip_flow, codes)
    options = {"steps": 25, "patience": 4, "optimizer": optimizer}
    whole, two_by_two = (fit(lip_flow, frame, fitting(["keypoint", LIKELIHOOD], batch=b, **options)) for b in (16, 2))
    torch.testing.assert_close(whole.codes, two_by_two.codes, rtol=0, atol=1e-9)
    assert whole.steps.tolist() == two_by_two.steps.tolist()


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_the_best_code_is_kept_and_steps_are_respected(optimizer, dam, codes):
    result = fit(dam, frame_of(dam, codes), fitting(["keypoint"], steps=9, optimizer=optimizer))
    assert result.steps.max() <= 9
    assert result.curves["total"].isfinite().sum(dim=1).tolist() == (result.steps + 1).tolist()
    lowest = result.curves["total"].nan_to_num(nan=torch.inf).min(dim=1)
    assert torch.equal(lowest.values, result.losses) and torch.equal(lowest.indices, result.best_steps)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_a_row_that_is_not_finite_stops_alone(optimizer, dam, codes):
    frame = frame_of(dam, codes)
    sound = fit(dam, frame, fitting(["keypoint"], steps=6, optimizer=optimizer))
    geometry, first = dam.decoder.geometry, sound.starts[1]

    def breaking(code):
        # The row of the second frame, away from its start; matrices of curvature look only near it.
        far = (code - first).norm(dim=1) > 0.02
        return torch.where(far[:, None, None] & marked(code), torch.nan, geometry(code))

    def marked(code):
        return (torch.arange(len(code)) == 1)[:, None, None] if len(code) == len(codes) else torch.tensor(False)

    dam.decoder.geometry = breaking
    try:
        result = fit(dam, frame, fitting(["keypoint"], steps=6, optimizer=optimizer))
    finally:
        del dam.decoder.geometry
    others = torch.tensor([0, 2, 3, 4])
    assert result.nonfinite.tolist() == [False, True, False, False, False]
    torch.testing.assert_close(result.codes[others], sound.codes[others], rtol=0, atol=1e-9)
    assert result.codes.isfinite().all()


@pytest.mark.parametrize("optimizer", SECOND_ORDER)
def test_a_converged_row_stops_before_its_last_step(optimizer, dam, codes):
    objectives = ["keypoint", {**LIKELIHOOD, "weight": 0.1}]
    result = fit(dam, frame_of(dam, codes), fitting(objectives, steps=200, optimizer=optimizer))
    assert (result.steps < 100).all() and not result.nonfinite.any()


@pytest.mark.parametrize("pose", [None, {}])
def test_curvature_is_that_of_the_residuals_jacobian(pose, lip_flow, codes):
    frame = frame_of(lip_flow, codes[:2])
    options = fitting(["keypoint", {"type": "latent-likelihood", "weight": 0.1}], pose=pose)
    size = codes.shape[1] + (0 if pose is None else 6)
    parameters, weights = 0.1 * inputs.normal(4, 2, size, dtype=FLOAT64), torch.tensor([[1.0, 0.1]] * 2, dtype=FLOAT64)
    with frozen(lip_flow):
        problem = Problem.of(lip_flow, frame, build_objectives(lip_flow, frame, options.objectives))
        got = gauss_newton(problem, parameters, weights, options)
        wanted = torch.zeros_like(got)
        for row in range(2):
            alone = problem.rows(torch.tensor([row]))

            def residuals(x, alone=alone):
                return alone.residuals(*split(x[None], problem.code_size, options))

            for k in range(2):
                jacobian = torch.autograd.functional.jacobian(lambda x, k=k: residuals(x)[k].values[0], parameters[row])
                found = residuals(parameters[row])[k]
                shares = found.weights.expand_as(found.values)[0]
                wanted[row] += 2 * weights[row, k] * jacobian.mT @ (shares[:, None] * jacobian)
    torch.testing.assert_close(got, wanted, rtol=0.05, atol=0.02 * float(wanted.abs().max()))


def test_an_optimizer_of_curvature_refuses_objectives_without_residuals(dam, codes):
    frame = frame_of(dam, codes)
    objectives = build_objectives(dam, frame, fitting(["keypoint"]).objectives)
    objectives["keypoint"].residuals = lambda state, target: None
    options = fitting(["keypoint"], optimizer="levenberg-marquardt")
    with pytest.raises(SpecError, match="no objective is a sum of squares: KeypointObjective"):
        fit(dam, frame, options, objectives=list(objectives.values()))


@pytest.mark.parametrize("error", ["l2", "charbonnier"])
def test_robust_errors_of_pictures_have_residuals(error, dam, codes):
    objectives = [{"type": "photometric", "target": "headset", "error": error}]
    result = fit(dam, frame_of(dam, codes[:2]), fitting(objectives, steps=12, optimizer="levenberg-marquardt"))
    assert (result.losses < 0.5 * result.curves["total"][:, 0]).all()


@pytest.mark.parametrize("name", ["standard-normal", "kl", "mixture"])
def test_residuals_of_priors_have_the_gradient_of_their_density(name):
    avatar = make_avatar("standard-normal", "hmc")
    given = avatar.prior.given.__class__(code=inputs.CODE, driving=avatar.driving.planned, driving_name="hmc")
    prior = part(PriorSlot, name).build(given).double().eval()
    driving = inputs.encoding(3, dtype=FLOAT64)
    features = avatar.driving.planned.outputs["features"][0]
    driving = type(driving)(driving.mean, driving.log_std, inputs.normal(2, 3, features, dtype=FLOAT64))
    code = inputs.normal(5, 3, inputs.CODE, dtype=FLOAT64).requires_grad_()
    density = prior.condition(driving if "driving" in prior.planned.needs else None)
    residuals = density.residuals(code)
    squares = (residuals.weights.detach() * residuals.values.square()).sum()
    one, other = (torch.autograd.grad(v, code)[0] for v in (squares, -density.log_prob(code).sum()))
    torch.testing.assert_close(one, other)


def test_a_grid_without_learning_rates_searches_the_latent_weight_alone(dam, codes):
    grid = {"learning_rate": [0.01, 0.1], "latent_weight": [0.1, 0.001], "frames": 2}
    options = fitting(["keypoint", LIKELIHOOD], steps=5, grid=grid, optimizer="lbfgs")
    choice = fit(dam, frame_of(dam, codes), options).grid
    assert len(choice.points) == 2 and choice.learning_rate is None
    assert choice.describe().startswith("latent weight 0.")


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_fitting_in_the_base_space_starts_at_the_same_code_and_gives_codes(optimizer, lip_flow, codes):
    frame, objectives = frame_of(lip_flow, codes), ["keypoint", LIKELIHOOD]
    plain, based = (
        fit(lip_flow, frame, fitting(objectives, steps=12, optimizer=optimizer, space=space))
        for space in ("code", "base")
    )
    torch.testing.assert_close(based.curves["total"][:, 0], plain.curves["total"][:, 0])
    assert (based.losses < based.curves["total"][:, 0]).all()
    with frozen(lip_flow), torch.no_grad():
        problem = Problem.of(lip_flow, frame, build_objectives(lip_flow, frame, fitting(objectives).objectives))
        losses = problem.losses(based.codes) @ torch.tensor([1.0, LIKELIHOOD["weight"]], dtype=FLOAT64)
    torch.testing.assert_close(losses, based.losses)


def test_a_prior_without_a_base_space_is_refused(dam, codes):
    given = dam.prior.given.__class__(code=inputs.CODE, driving=None)
    dam.fitting_prior, prior = part(PriorSlot, "standard-normal").build(given).double(), dam.fitting_prior
    density = dam.fitting_prior.condition(None)
    dam.fitting_prior.condition = lambda driving: type(
        "Bare",
        (ConditionedPrior,),
        {
            "log_prob": density.log_prob,
            "mode": lambda self: density.mode(),
            "sample": density.sample,
            "rows": lambda self, index: self,
        },
    )()
    try:
        with pytest.raises(SpecError, match=r"fitting\.space is 'base', but the prior \(\w+\) has no base space"):
            fit(dam, frame_of(dam, codes), fitting(["keypoint"], space="base"))
    finally:
        dam.fitting_prior = prior


@pytest.mark.parametrize(("refresh", "expected"), [(1, 6), (2, 3), (50, 1)])
def test_levenberg_marquardt_computes_its_matrix_as_often_as_refresh_says(refresh, expected):
    optimizer = levenberg_marquardt(refresh=refresh)
    parameters, asked = torch.full((1, 2), 4.0, dtype=FLOAT64), []
    state = optimizer.start(parameters)
    for _ in range(6):
        point = bowl(parameters, lambda rows: asked.append(rows) or torch.eye(2, dtype=FLOAT64)[None])
        parameters, state = optimizer.update(parameters, point, state)
    assert len(asked) == expected


def test_a_matrix_that_is_not_finite_is_survived():
    optimizer, parameters = levenberg_marquardt(), torch.full((1, 2), 4.0, dtype=FLOAT64)
    point = bowl(parameters, lambda rows: torch.full((1, 2, 2), torch.nan, dtype=FLOAT64))
    moved, _ = optimizer.update(parameters, point, optimizer.start(parameters))
    assert moved.isfinite().all() and moved.norm() < parameters.norm()


def levenberg_marquardt(**options):
    return LevenbergMarquardtOptimizer(LevenbergMarquardtConfig(**options), OptimizerInputs(code=2, pose=0))


def bowl(parameters, curvature):
    """The loss ½ |x|²."""
    sound = torch.ones(len(parameters), dtype=torch.bool)
    return LossAtPoint(0.5 * parameters.square().sum(1), parameters, sound, curvature)
