"""The terms of a stage's loss, and what they make it load and run."""

import pytest
import torch
from runs import dam_regressor, make_spec

from lipflow_core.assembly import assemble
from lipflow_core.densities import bounded_normal
from lipflow_core.interfaces import FrameRequest
from lipflow_core.interfaces.objective import numbered
from lipflow_core.planning import plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Encoding
from lipflow_core.training.stage_loss import Batch, StageLoss, needs_of


def objectives(spec, stage=0):
    """A stage's objectives by name, built."""
    planned = plan(spec).stage_objectives[spec.training.stages[stage].name]
    return numbered([term.part.name for term in planned], [term.build() for term in planned])


def stage_loss(spec, avatar):
    return StageLoss(avatar, spec.training.stages[0], objectives(spec))


WEIGHTS = {"photometric": 10.0, "geometry": 1.0, "divergence": 0.5}


@pytest.fixture
def spec():
    return make_spec("lip-flow-hmc", "prior=kl", "flow=null", "training.stages.0.objectives.photometric.scale=2")


@pytest.fixture
def batch(spec):
    split = spec.capture.build(CaptureInputs()).split("train")
    request = FrameRequest(torch.arange(3).numpy(), ("face", "dome", "headset"), torch.tensor([[0, 1]] * 3).numpy())
    frame = split.load(request)
    return Batch(frame, frame, torch.ones(3, spec.code))


def test_terms_are_those_of_the_paper(spec, batch):
    avatar = assemble(spec)
    loss, terms, _ = stage_loss(spec, avatar)(batch, WEIGHTS)
    frame, template = batch.frame, avatar.template
    posterior = avatar.encode(frame)
    code = posterior.mean + posterior.log_std.exp()
    views = frame["dome"]
    face = avatar.decode(code, views.camera)
    error = (avatar.render(face, views.camera).image.unflatten(0, (3, 2)) - views.images) / 2
    image = error.square().mean()
    geometry = ((face.vertices - frame["face"].vertices) / template.vertices_scale).square().mean()
    latent = (
        torch.distributions.kl_divergence(posterior.distribution, avatar.drive(frame).distribution).mean() / spec.code
    )
    torch.testing.assert_close(terms, torch.stack([image, geometry, latent]), rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(loss, 10 * image + geometry + 0.5 * latent, rtol=1e-4, atol=1e-6)


def test_the_sample_and_the_divergence_are_of_one_posterior(spec):
    avatar = assemble(spec)
    mean = torch.zeros(2, spec.code)
    posterior = Encoding(mean, mean + 50, torch.zeros(2, 3))
    code = stage_loss(spec, avatar).sample(posterior, torch.ones_like(mean))
    torch.testing.assert_close(code, bounded_normal(posterior).stddev)


def test_masked_pixels_do_not_count(spec, batch):
    avatar = assemble(spec)
    views = batch.frame["dome"]
    views.mask[:, :, :10] = 0
    before = stage_loss(spec, avatar)(batch, WEIGHTS)[1]
    views.images[:, :, :, :10] += 1
    after = stage_loss(spec, avatar)(batch, WEIGHTS)[1]
    views.images[:, :, :, :10] -= 1
    views.mask[:, :, :10] = 1
    assert torch.equal(before, after)


def test_gradients_reach_every_part_that_learns(spec, batch):
    avatar = assemble(spec)
    loss, _, _ = stage_loss(spec, avatar)(batch, WEIGHTS)
    loss.backward()
    without = [name for name, parameter in avatar.named_parameters() if parameter.grad is None]
    # P's features drive nothing but a flow, which prior `kl` has not.
    assert all(name.startswith("driving.") for name in without), without


def test_needs_follow_from_weights_and_frozen_parts():
    spec = make_spec(dam_regressor())
    avatar = assemble(spec)
    first, second = (needs_of(avatar, stage, objectives(spec, i)) for i, stage in enumerate(spec.training.stages))
    assert list(first.objectives) == ["photometric", "geometry", "divergence"]
    assert first.observations == ("dome", "face")
    assert not first.driving
    assert list(second.objectives) == ["divergence"]
    assert second.observations == ("face", "headset")
    # Were the reconstruction's weights left in, it would be a constant.
    frozen = spec.training.stages[0].model_copy(update={"train": ("driving", "prior")})
    assert list(needs_of(avatar, frozen, objectives(spec)).objectives) == ["divergence"]
