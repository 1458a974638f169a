"""What the fitting objectives promise."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from lipflow_keypoint.config import KeypointObjectiveConfig
from lipflow_keypoint.objective import KeypointObjective
from lipflow_objectives.config import LatentLikelihoodConfig, PhotometricConfig
from lipflow_objectives.latent import LatentLikelihoodObjective
from lipflow_objectives.photometric import PhotometricObjective, affine_exposure

from lipflow_core.interfaces import ConditionedPrior, State
from lipflow_core.plans import Mismatch
from lipflow_core.records import FaceState, Frame, Keypoints, Rendering, Views, luminance


class Gaussian(ConditionedPrior):
    """N(mean, 1) with B rows, or one that broadcasts."""

    def __init__(self, mean: torch.Tensor):
        self.mean = mean

    def log_prob(self, code: torch.Tensor) -> torch.Tensor:
        return torch.distributions.Normal(self.mean, 1.0).log_prob(code).sum(dim=-1)

    def mode(self) -> torch.Tensor:
        return self.mean

    def sample(self, count: int, generator: torch.Generator | None = None) -> torch.Tensor:
        return self.mean + torch.randn(count, *self.mean.shape, generator=generator)

    def rows(self, index: torch.Tensor) -> Gaussian:
        return self if self.mean.shape[0] == 1 else Gaussian(self.mean[index])


def rendering(image: torch.Tensor, coverage: torch.Tensor | None = None) -> Rendering:
    """A rendering that shows this picture (B, C, H, W)."""
    coverage = torch.ones_like(image[:, 0]) if coverage is None else coverage
    nowhere = torch.full(coverage.shape, -1, dtype=torch.int64)
    return Rendering(image, coverage, torch.zeros_like(coverage), nowhere, torch.zeros_like(image[:, :3]))


def situation(sizes, batch=3, dtype=torch.float32, **changes) -> State:
    """A state whose face is the mean face."""
    template = sizes.template(dtype)
    state = State(
        code=torch.zeros(batch, sizes.code, dtype=dtype),
        prior=Gaussian(torch.zeros(1, sizes.code, dtype=dtype)),
        template=template,
        face=FaceState(template.vertices_mean.expand(batch, -1, -1)),
        renderings={},
        cameras={"keypoints": sizes.camera(batch, dtype=dtype)},
    )
    return replace(state, **changes)


def frame(**observations) -> Frame:
    batch = next(iter(observations.values())).apply(lambda tensor: tensor)
    count = len(batch.images if isinstance(batch, Views) else batch.points)
    return Frame(("EXP",) * count, torch.arange(count), observations)


def views(sizes, images: torch.Tensor, mask: torch.Tensor | None = None) -> Views:
    mask = torch.ones_like(images[:, :, 0]) if mask is None else mask
    return Views(images, sizes.camera(*images.shape[:2]), mask)


def photometric(sizes, **options) -> PhotometricObjective:
    return PhotometricObjective(PhotometricConfig(**{"target": "headset", **options}), sizes.objective_inputs)


def pictures(sizes, batch=3, colours=3) -> torch.Tensor:
    return torch.rand(batch, sizes.views, colours, sizes.height, sizes.width)


@pytest.mark.parametrize("error", ["l2", "l1", "charbonnier"])
@pytest.mark.parametrize("exposure", ["none", "affine"])
@pytest.mark.parametrize("uncovered", ["count", "ignore"])
def test_a_render_that_equals_the_target_costs_nothing(sizes, error, exposure, uncovered):
    image = pictures(sizes)
    state = situation(sizes, renderings={"headset": rendering(image.flatten(0, 1))})
    objective = photometric(sizes, error=error, exposure=exposure, uncovered=uncovered)
    loss = objective(state, frame(headset=views(sizes, image)))
    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-5, rtol=0)


def test_grey_targets_are_compared_with_the_luminance(sizes):
    image = pictures(sizes)
    state = situation(sizes, renderings={"headset": rendering(image.flatten(0, 1))})
    loss = photometric(sizes)(state, frame(headset=views(sizes, luminance(image))))
    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-10, rtol=0)


def test_luminance_of_white_is_one():
    torch.testing.assert_close(luminance(torch.ones(2, 3, 4, 5)), torch.ones(2, 1, 4, 5))


@pytest.mark.parametrize(("scale", "expected"), [(1.0, 0.01), (0.2, 0.01 / 0.2**2)])
def test_the_scale_of_a_residual(sizes, scale, expected):
    image = pictures(sizes)
    state = situation(sizes, renderings={"headset": rendering(image.flatten(0, 1) + 0.1)})
    loss = photometric(sizes, scale=scale)(state, frame(headset=views(sizes, image)))
    torch.testing.assert_close(loss, torch.full((3,), expected))


def test_only_the_masked_part_counts(sizes):
    image = pictures(sizes)
    mask = torch.zeros_like(image[:, :, 0])
    mask[..., :4, :] = 1
    wrong = image.clone()
    wrong[..., 4:, :] += 5
    state = situation(sizes, renderings={"headset": rendering(wrong.flatten(0, 1))})
    loss = photometric(sizes)(state, frame(headset=views(sizes, image, mask)))
    torch.testing.assert_close(loss, torch.zeros(3))


def test_partial_masks_weigh_as_in_training(sizes):
    image, shown = pictures(sizes), pictures(sizes)
    mask = torch.rand_like(image[:, :, 0])
    state = situation(sizes, renderings={"headset": rendering(shown.flatten(0, 1))})
    loss = photometric(sizes, scale=1.0)(state, frame(headset=views(sizes, image, mask)))
    weighted = ((shown - image) * mask[:, :, None]).square().sum(dim=(1, 2, 3, 4))
    torch.testing.assert_close(loss, weighted / (3 * mask.square().sum(dim=(1, 2, 3))))


def test_an_empty_mask_costs_nothing_and_has_a_finite_gradient(sizes):
    image = pictures(sizes)
    shown = (image + 0.3).flatten(0, 1).requires_grad_()
    state = situation(sizes, renderings={"headset": rendering(shown)})
    for exposure in ("none", "affine"):
        target = frame(headset=views(sizes, image, torch.zeros_like(image[:, :, 0])))
        loss = photometric(sizes, exposure=exposure)(state, target)
        loss.sum().backward()
        assert torch.equal(loss, torch.zeros(3))
        assert shown.grad.isfinite().all()


def test_pixels_that_the_mesh_misses_count_unless_told_otherwise(sizes):
    image = pictures(sizes)
    coverage = torch.ones_like(image[:, :, 0])
    coverage[..., :2] = 0
    shown = image * coverage[:, :, None]
    state = situation(sizes, renderings={"headset": rendering(shown.flatten(0, 1), coverage.flatten(0, 1))})
    target = frame(headset=views(sizes, image))
    assert (photometric(sizes)(state, target) > 0.1).all()
    torch.testing.assert_close(photometric(sizes, uncovered="ignore")(state, target), torch.zeros(3))


def test_showing_less_of_the_face_has_no_gradient_of_its_own(sizes):
    image = pictures(sizes)
    coverage = torch.full_like(image[:, :, 0], 0.5).flatten(0, 1).requires_grad_()
    shown = (image + 0.2).flatten(0, 1).requires_grad_()
    state = situation(sizes, renderings={"headset": rendering(shown, coverage)})
    photometric(sizes, uncovered="ignore")(state, frame(headset=views(sizes, image))).sum().backward()
    assert coverage.grad is None


def test_affine_exposure_undoes_gain_and_offset(sizes):
    image = pictures(sizes)
    gain, offset = torch.rand(3, 3, 1, 1, 1) + 0.5, torch.rand(3, 3, 1, 1, 1) * 0.2 - 0.1
    target = gain * image + offset
    found = affine_exposure(image, target, torch.ones(3, 3, 1, sizes.height, sizes.width))
    torch.testing.assert_close(found[0], gain, atol=1e-3, rtol=1e-3)
    torch.testing.assert_close(found[1], offset, atol=1e-3, rtol=1e-3)
    state = situation(sizes, renderings={"headset": rendering(image.flatten(0, 1))})
    loss = photometric(sizes, exposure="affine")(state, frame(headset=views(sizes, target)))
    assert (loss < 1e-4).all()
    assert (photometric(sizes)(state, frame(headset=views(sizes, target))) > 0.01).all()


def test_affine_exposure_does_not_invert_or_explode_a_picture(sizes):
    image = pictures(sizes)
    gain, offset = affine_exposure(image, 1 - image, torch.ones(3, 3, 1, sizes.height, sizes.width))
    assert (gain == 0.25).all()
    flat, _ = affine_exposure(torch.full_like(image, 0.5), image, torch.ones(3, 3, 1, sizes.height, sizes.width))
    assert ((flat >= 0.25) & (flat <= 4)).all()
    assert offset.isfinite().all()


@pytest.mark.parametrize("error", ["l2", "l1", "charbonnier"])
def test_photometric_gradients_are_exact(other_sizes, error):
    sizes = other_sizes(views=2, height=3, width=4, colours=3)
    target = pictures(sizes, batch=2).double()
    shown = torch.rand(4, 3, 3, 4, dtype=torch.float64, requires_grad=True)

    def loss(shown):
        state = situation(sizes, 2, torch.float64, renderings={"headset": rendering(shown)})
        return photometric(sizes, error=error)(state, frame(headset=views(sizes, target)))

    assert torch.autograd.gradcheck(loss, (shown,))


def test_photometric_rows_are_independent(sizes):
    image = pictures(sizes)
    shown = torch.rand(9, 3, sizes.height, sizes.width, requires_grad=True)
    state = situation(sizes, renderings={"headset": rendering(shown)})
    loss = photometric(sizes, exposure="affine")(state, frame(headset=views(sizes, image)))
    (gradient,) = torch.autograd.grad(loss[1], shown)
    per_row = gradient.unflatten(0, (3, 3)).abs().amax(dim=(1, 2, 3, 4))
    assert per_row[1] > 0
    assert per_row[0] == per_row[2] == 0


def test_photometric_names_the_pictures_there_are(sizes):
    with pytest.raises(Mismatch, match=r"'side', which the capture does not have; set target to one of: headset, fron"):
        PhotometricConfig(target="side").plan(sizes.objective_inputs)


def test_photometric_needs_render_and_target(sizes):
    plan = PhotometricConfig(target="frontal").plan(sizes.objective_inputs)
    assert plan.needs == ("render:frontal", "target:frontal")


def keypoint_target(sizes, state: State, visible: torch.Tensor | None = None) -> Frame:
    """The keypoints that the mean face projects to."""
    camera = state.cameras["keypoints"]
    mean = state.template.vertices_mean[state.template.landmarks].expand(len(state.code), -1, -1)
    points, _ = camera.project(mean)
    return frame(keypoints=Keypoints(points, torch.ones_like(points[..., 0]) if visible is None else visible, camera))


def keypoint(sizes, **options) -> KeypointObjective:
    return KeypointObjective(KeypointObjectiveConfig(**options), sizes.objective_inputs)


@pytest.mark.parametrize("unit", ["standardised", "width", "pixel"])
def test_landmarks_on_their_keypoints_cost_nothing(sizes, unit):
    state = situation(sizes)
    loss = keypoint(sizes, unit=unit)(state, keypoint_target(sizes, state))
    torch.testing.assert_close(loss, torch.zeros(3), atol=1e-10, rtol=0)


def test_a_sideways_shift_by_one_standard_deviation_costs_about_one_half(sizes):
    state = situation(sizes)
    template = state.template
    shifted = state.face.vertices + torch.tensor([1.0, 0, 0]) * template.vertices_scale
    moved = replace(state, face=FaceState(shifted))
    loss = keypoint(sizes)(moved, keypoint_target(sizes, state))
    assert (loss - 0.5).abs().max() < 0.15


def test_width_and_pixel_are_the_same_up_to_the_picture(sizes):
    state = situation(sizes)
    moved = replace(state, face=FaceState(state.face.vertices + 3.0))
    target = keypoint_target(sizes, state)
    in_pixels, in_widths = keypoint(sizes, unit="pixel")(moved, target), keypoint(sizes, unit="width")(moved, target)
    torch.testing.assert_close(in_pixels, in_widths * sizes.width**2)


def test_hidden_keypoints_do_not_count(sizes):
    state = situation(sizes)
    visible = torch.ones(3, sizes.keypoints)
    visible[:, 2] = 0
    target = keypoint_target(sizes, state, visible)
    target["keypoints"].points[:, 2] += 100
    torch.testing.assert_close(keypoint(sizes)(state, target), torch.zeros(3), atol=1e-10, rtol=0)


def test_no_visible_keypoint_costs_nothing(sizes):
    state = situation(sizes)
    target = keypoint_target(sizes, state, torch.zeros(3, sizes.keypoints))
    moved = replace(state, face=FaceState(state.face.vertices + 3.0))
    assert torch.equal(keypoint(sizes)(moved, target), torch.zeros(3))


def test_keypoint_rows_are_independent_and_gradients_exact(sizes):
    state = situation(sizes, dtype=torch.float64)
    target = keypoint_target(sizes, state)
    vertices = (state.face.vertices + torch.randn(3, sizes.vertices, 3).double()).requires_grad_()

    def loss(vertices):
        return keypoint(sizes)(replace(state, face=FaceState(vertices)), target)

    assert torch.autograd.gradcheck(loss, (vertices,), fast_mode=True)
    (gradient,) = torch.autograd.grad(loss(vertices)[0], vertices)
    assert gradient[0].abs().max() > 0
    assert gradient[1:].abs().max() == 0


def test_the_unit_does_not_reward_moving_the_head_away(sizes):
    state = situation(sizes, dtype=torch.float64)
    camera = state.cameras["keypoints"]
    extrinsics = camera.extrinsics.clone().requires_grad_()
    unit = keypoint(sizes).unit(replace(camera, extrinsics=extrinsics), state.template)
    assert not unit.requires_grad


def test_a_capture_without_landmarks_is_refused(sizes):
    with pytest.raises(Mismatch, match="the capture's template has none"):
        KeypointObjectiveConfig().plan(replace(sizes.objective_inputs, landmarks=0))


def test_landmarks_and_keypoints_must_be_as_many(sizes):
    with pytest.raises(Mismatch, match="has 4 landmarks and its observation 'keypoints' 5 points"):
        KeypointObjectiveConfig().plan(replace(sizes.objective_inputs, landmarks=4))


def test_latent_likelihood_is_in_nats_per_dimension(sizes):
    objective = LatentLikelihoodObjective(LatentLikelihoodConfig(), sizes.objective_inputs)
    state = situation(sizes, code=torch.full((3, sizes.code), 2.0))
    target = keypoint_target(sizes, state)
    torch.testing.assert_close(objective(state, target), torch.full((3,), 2.0 + 0.5 * math.log(2 * math.pi)))


def test_latent_likelihood_pulls_each_code_to_its_own_prior(sizes):
    objective = LatentLikelihoodObjective(LatentLikelihoodConfig(), sizes.objective_inputs)
    mean = torch.randn(3, sizes.code)
    code = torch.zeros(3, sizes.code, requires_grad=True)
    state = situation(sizes, code=code, prior=Gaussian(mean))
    objective(state, keypoint_target(sizes, state)).sum().backward()
    torch.testing.assert_close(code.grad, -mean / sizes.code)


@pytest.mark.parametrize("batch", [0, 1])
def test_small_batches(sizes, batch):
    image = pictures(sizes, batch)
    state = situation(sizes, batch, renderings={"headset": rendering(image.flatten(0, 1))})
    target = frame(headset=views(sizes, image))
    keypoints = keypoint_target(sizes, state)
    assert photometric(sizes, exposure="affine")(state, target).shape == (batch,)
    assert keypoint(sizes)(state, keypoints).shape == (batch,)
    objective = LatentLikelihoodObjective(LatentLikelihoodConfig(), sizes.objective_inputs)
    assert objective(state, keypoints).shape == (batch,)
