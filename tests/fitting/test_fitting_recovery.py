"""Fitting finds what made the target: codes and headset poses, from the avatar's own pictures."""

from __future__ import annotations

import pytest
import roma
import torch
from fitted_avatars import CODE, FLOAT64, fitting, frame_of, make_avatar

from lipflow_core.errors import CaptureError, SpecError
from lipflow_core.fitting import fit
from lipflow_core.fitting.fit import build_objectives, first_fault
from lipflow_core.records import Frame
from lipflow_core.testing import inputs


def test_fitting_lowers_every_rows_loss(lip_flow, codes):
    objectives = [{"type": "photometric", "target": "dome"}, {"type": "latent-likelihood", "weight": 0.001}]
    result = fit(lip_flow, frame_of(lip_flow, codes), fitting(objectives))
    assert (result.losses < result.curves["total"][:, 0]).all()
    assert (result.distance > 0).all()


def test_a_code_is_recovered_from_its_own_keypoints(dam, codes):
    result = fit(dam, frame_of(dam, codes), fitting(["keypoint"], steps=400))
    assert (result.codes - codes).norm(dim=1).max() < 0.1 * codes.norm(dim=1).min()


def test_a_code_is_recovered_from_its_own_pictures(dam, codes):
    frame = frame_of(dam, codes[:2])
    objectives = [{"type": "photometric", "target": "headset"}, {"type": "photometric", "target": "frontal"}]
    result = fit(dam, frame, fitting(objectives, steps=150, optimizer={"learning_rate": 0.2}))
    assert set(result.curves) == {"photometric", "photometric#2", "total"}
    assert (result.losses < 0.02 * result.curves["total"][:, 0]).all()
    assert (result.codes - codes[:2]).norm(dim=1).max() < 0.3 * codes.norm(dim=1).min()


def test_fitting_starts_at_the_priors_mode(lip_flow, codes):
    frame = frame_of(lip_flow, codes)
    result = fit(lip_flow, frame, fitting(["latent-likelihood"], steps=1))
    with torch.no_grad():
        mode = lip_flow.fitting_prior.condition(lip_flow.drive(frame)).mode()
    torch.testing.assert_close(result.starts, mode)


def test_fitting_can_start_at_zero(lip_flow, codes):
    result = fit(lip_flow, frame_of(lip_flow, codes), fitting(["keypoint"], steps=1, start="zero"))
    assert torch.equal(result.starts, torch.zeros_like(codes))


def test_the_latent_likelihood_keeps_codes_near_the_prior(dam, codes):
    frame = frame_of(dam, 2 * codes)
    free = fit(dam, frame, fitting(["keypoint"], steps=100))
    held = fit(dam, frame, fitting(["keypoint", {"type": "latent-likelihood", "weight": 1.0}], steps=100))
    assert (held.codes.norm(dim=1) < free.codes.norm(dim=1)).all()


def test_the_headset_pose_is_recovered_with_the_code(dam):
    codes = inputs.normal(5, 2, CODE, dtype=FLOAT64)
    rotation = torch.tensor([[0.04, -0.06, 0.02], [-0.03, 0.05, 0.04]], dtype=FLOAT64)
    translation = torch.tensor([[4.0, -3.0, 5.0], [-5.0, 2.0, -4.0]], dtype=FLOAT64)
    true = torch.cat([roma.rotvec_to_rotmat(rotation), translation[..., None]], dim=-1)
    frame = frame_of(dam, codes, true)
    # The frontal picture, which does not move, tells the code; the headset's pictures tell the pose.
    dam.driving, driving = torch.nn.Identity(), dam.driving
    dam.driving.modality = "headset"
    try:
        objectives = [{"type": "photometric", "target": "headset"}, {"type": "photometric", "target": "frontal"}]
        result = fit(dam, frame, fitting(objectives, steps=150, optimizer={"learning_rate": 0.2}, pose={}))
    finally:
        dam.driving = driving
    at_rest = torch.eye(3, 4, dtype=FLOAT64).expand_as(true)
    assert ((result.poses - true)[..., 3].norm(dim=1) < 0.3 * translation.norm(dim=1)).all()
    left = roma.rotmat_geodesic_distance(result.poses[..., :3], true[..., :3])
    assert (left < 0.3 * roma.rotmat_geodesic_distance(at_rest[..., :3], true[..., :3])).all()


def test_without_pose_there_are_no_poses(dam, codes):
    assert fit(dam, frame_of(dam, codes), fitting(["keypoint"], steps=1)).poses is None


def test_nan_in_a_target_names_segment_and_frame(dam, codes):
    frame = frame_of(dam, codes)
    frame["headset"].images[3, 1, 0, 2, 2] = torch.nan
    with pytest.raises(CaptureError, match=r"segment KIT_3, frame 0*3.*headset"):
        fit(dam, frame, fitting([{"type": "photometric", "target": "headset"}]))


def test_frames_that_show_nothing_are_told(dam, codes):
    frame = frame_of(dam, codes)
    frame["headset"].mask[1] = 0
    frame["keypoints"].visible[[1, 2]] = 0
    pictures = {"type": "photometric", "target": "headset"}
    assert fit(dam, frame, fitting([pictures], steps=1)).unseen.tolist() == [False, True, False, False, False]
    both = fit(dam, frame, fitting([pictures, "keypoint"], steps=1))
    assert both.unseen.tolist() == [False, True, False, False, False]
    assert not fit(dam, frame, fitting(["latent-likelihood"], steps=1)).unseen.any()


def test_a_missing_target_is_named(dam, codes):
    frame = frame_of(dam, codes)
    options = fitting(["keypoint"])
    objective = build_objectives(dam, frame, options.objectives)["keypoint"]
    poor = Frame(frame.segments, frame.numbers, {"frontal": frame["frontal"]})
    with pytest.raises(SpecError, match=r"keypoints.*have frontal"):
        fit(dam, poor, options, objectives=[objective])


def test_a_grid_without_its_view_is_refused(dam, codes):
    frame = frame_of(dam, codes)
    poor = Frame(frame.segments, frame.numbers, {"keypoints": frame["keypoints"]})
    with pytest.raises(SpecError, match="frontal"):
        fit(dam, poor, fitting(["keypoint"], grid={}))


def test_a_row_whose_loss_is_not_finite_stops_at_its_best_code(dam, codes):
    frame = frame_of(dam, codes)
    decode = dam.decoder.geometry
    calls = []

    def breaking(code):
        vertices = decode(code)
        calls.append(1)
        if len(calls) == 6:
            poison = torch.zeros_like(vertices)
            poison[1] = torch.nan
            return vertices + poison
        return vertices

    dam.decoder.geometry = breaking
    try:
        result = fit(dam, frame, fitting(["keypoint"], steps=20))
    finally:
        del dam.decoder.geometry
    assert result.nonfinite.tolist() == [False, True, False, False, False]
    assert result.steps.tolist() == [20, 5, 20, 20, 20]
    assert result.codes.isfinite().all()
    assert result.losses[1] <= result.curves["total"][1, 0]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda avatar: avatar.driving, "driving encoding"),
        (lambda avatar: avatar.fitting_prior, "first code"),
        (lambda avatar: avatar.decoder, "decoded vertices"),
    ],
    ids=["driving", "prior", "decoder"],
)
def test_the_part_that_gives_nan_is_found(spoil, fault, codes):
    avatar = make_avatar("flow", "hmc")
    frame = frame_of(avatar, codes)
    with torch.no_grad():
        for parameter in spoil(avatar).parameters():
            parameter.fill_(torch.nan)
    options = fitting([{"type": "photometric", "target": "headset"}, "latent-likelihood"], steps=3)
    assert first_fault(avatar, frame, options) == fault
    assert not fit(avatar, frame, options).fitted.any()


def test_results_are_joined_by_the_names_of_their_tensors(dam, codes):
    whole = fit(dam, frame_of(dam, codes), fitting(["keypoint", "latent-likelihood"], steps=2))
    fresh, stored = whole.rows(torch.arange(2)), whole.rows(torch.arange(2, 5))
    stored = type(stored).from_tensors(dict(sorted(stored.as_tensors().items(), reverse=True)))
    joined = type(whole).join([fresh, stored])
    torch.testing.assert_close(joined.as_tensors(), whole.as_tensors(), equal_nan=True)
