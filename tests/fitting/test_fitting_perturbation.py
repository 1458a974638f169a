"""Fits that are given displaced driving cameras: what is displaced, how far, and what fitting the pose recovers."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fitted_avatars import fitting, frame_of

from lipflow_core.avatar import frozen
from lipflow_core.fitting import FittingResult, Problem, fit
from lipflow_core.fitting.fit import build_objectives
from lipflow_core.fitting.pose import composed, perturbations, pose_errors
from lipflow_core.specs.model import Perturbation

HEADSET = {"type": "photometric", "target": "headset"}
FRONTAL = {"type": "photometric", "target": "frontal"}


def drawn(segments, numbers, **options):
    return perturbations(segments, numbers, Perturbation(**options))


def test_a_displacement_has_the_size_that_is_asked_for():
    made = drawn(["a"] * 50, range(50), degrees=5, millimetres=3)
    degrees, millimetres = pose_errors(made)
    torch.testing.assert_close(degrees, torch.full((50,), 5.0).double())
    torch.testing.assert_close(millimetres, torch.full((50,), 3.0).double())
    torch.testing.assert_close(made[..., :3] @ made[..., :3].mT, torch.eye(3).double().expand(50, 3, 3))
    assert made[..., 3].mean(dim=0).norm() < 1.5  # in all directions
    none = drawn(["a"], [0], degrees=0, millimetres=0)
    assert torch.equal(none, torch.eye(3, 4).double()[None])


def test_a_displacement_depends_on_seed_segment_and_number_alone():
    whole = drawn(["a", "a", "b"], [0, 1, 0])
    assert torch.equal(drawn(["b", "a"], [0, 1]), whole[[2, 1]])
    assert len(torch.unique(whole[:, :, 3], dim=0)) == 3
    assert not torch.equal(drawn(["a"], [0], seed=1), whole[:1])


def test_a_displacement_can_be_held_for_a_segment():
    held = drawn(["a", "a", "b", "a"], [0, 7, 0, 3], hold="segment")
    assert torch.equal(held[0], held[1]) and torch.equal(held[0], held[3])
    assert not torch.equal(held[0], held[2])


def test_fitting_is_given_the_displaced_cameras(dam, codes):
    frame = frame_of(dam, codes)
    options = fitting([HEADSET], perturbation={"degrees": 4, "millimetres": 6})
    problem = Problem.of(dam, frame, build_objectives(dam, frame, options.objectives), "prior", options.perturbation)
    wanted = drawn(frame.segments, frame.numbers.tolist(), degrees=4, millimetres=6)
    expected = frame["headset"].camera.moved(wanted[:, None])
    torch.testing.assert_close(problem.cameras["headset"].extrinsics, expected.extrinsics)
    torch.testing.assert_close(problem.target["headset"].camera.extrinsics, expected.extrinsics)
    torch.testing.assert_close(problem.displacement, wanted)


def test_cameras_of_other_observations_stay(lip_flow, codes):
    frame = frame_of(lip_flow, codes)
    options = fitting([HEADSET, FRONTAL], perturbation={})
    objectives = build_objectives(lip_flow, frame, options.objectives)
    with frozen(lip_flow):
        problem = Problem.of(lip_flow, frame, objectives, "prior", options.perturbation)
    assert problem.moving == {"headset"}
    assert torch.equal(problem.cameras["frontal"].extrinsics, frame["frontal"].camera.extrinsics)
    assert not torch.equal(problem.cameras["headset"].extrinsics, frame["headset"].camera.extrinsics)


def test_a_frames_displacement_does_not_depend_on_the_batch(dam, codes):
    frame = frame_of(dam, codes)
    whole = fit(dam, frame, fitting([HEADSET], steps=3, perturbation={}))
    alone = fit(dam, frame.rows(torch.tensor([3])), fitting([HEADSET], steps=3, perturbation={}))
    torch.testing.assert_close(whole.rows(torch.tensor([3])).codes, alone.codes, rtol=0, atol=1e-9)
    assert torch.equal(whole.perturbations[3:4], alone.perturbations)


def test_fitting_the_pose_undoes_the_displacement(dam, codes):
    frame = frame_of(dam, codes[:2])
    dam.driving, driving = torch.nn.Identity(), dam.driving
    dam.driving.modality = "headset"
    try:
        adam = {"type": "adam", "learning_rate": 0.2}
        options = {"steps": 150, "optimizer": adam, "perturbation": {"degrees": 4, "millimetres": 5}}
        result = fit(dam, frame, fitting([HEADSET, FRONTAL], pose={}, **options))
        left = fit(dam, frame, fitting([HEADSET, FRONTAL], **options))
    finally:
        dam.driving = driving
    for before, after in zip(pose_errors(result.start_residual), pose_errors(result.residual), strict=True):
        assert (after < 0.3 * before).all()
    assert torch.equal(left.residual, result.perturbations)
    torch.testing.assert_close(result.residual, composed(result.perturbations, result.poses))


def test_without_pose_or_perturbation_there_is_no_pose_error(dam, codes):
    result = fit(dam, frame_of(dam, codes), fitting(["keypoint"], steps=1))
    assert result.residual is None and result.start_residual is None


def test_a_fitted_pose_without_a_perturbation_is_its_own_error(dam, codes):
    result = fit(dam, frame_of(dam, codes), fitting([HEADSET], steps=3, pose={}))
    assert torch.equal(result.residual, result.poses)
    assert all((error == 0).all() for error in pose_errors(result.start_residual))


def test_stored_results_keep_their_displacements(dam, codes):
    result = fit(dam, frame_of(dam, codes), fitting([HEADSET], steps=1, perturbation={}))
    stored = FittingResult.from_tensors(result.as_tensors())
    assert torch.equal(stored.perturbations, result.perturbations)
    plain = replace(result, perturbations=None)
    assert FittingResult.from_tensors(plain.as_tensors()).perturbations is None


@pytest.mark.parametrize("angle", [1e-6, 0.01, 1.0, 179.0])
def test_pose_errors_are_exact_for_small_and_large_angles(angle):
    degrees, _ = pose_errors(drawn(["a"], [0], degrees=angle))
    torch.testing.assert_close(degrees, torch.tensor([angle]).double(), rtol=1e-6, atol=0)
