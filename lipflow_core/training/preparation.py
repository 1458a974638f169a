"""Before a stage's first step: its batches, its prior's data-dependent parameters, what its gradient reaches."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lipflow_core.errors import CaptureError, CompatibilityError
from lipflow_core.records import Encoding
from lipflow_core.training.batches import BatchMaker, ahead
from lipflow_core.training.learning import set_modes
from lipflow_core.training.objective import Objective, final_latent_weight
from lipflow_core.training.randomness import Purpose, Sampler, module_seed, stream
from lipflow_core.training.run import Run

INITIALIZATION_CODES = 256
"""Codes that a prior is initialised from: fewer wreck activation normalisation (see docs/training.md)."""


def batch_maker(run: Run, objective: Objective, split_name: str) -> BatchMaker:
    """The maker of a stage's batches from one split.

    Raises:
        lipflow_core.errors.CaptureError: If the split has no frames.
        lipflow_core.errors.CompatibilityError: If more views are wanted than the capture has cameras.
    """
    training, needs = run.spec.training, objective.needs
    split = run.capture.split(split_name)
    if len(split) == 0:
        raise CaptureError(
            f"capture '{run.spec.capture.name}' has no frames in its split '{split_name}'",
            "both splits need at least one frame; look at the capture's options",
        )
    views = training.views if "image" in needs.terms else 0
    if views > len(split.cameras):
        raise CompatibilityError(
            f"training.views is {views}, but the capture has {len(split.cameras)} dome cameras",
            f"set training.views to at most {len(split.cameras)}",
        )
    driving = run.avatar.driving
    seen = needs.driving or run.avatar.encoder is driving
    return BatchMaker(
        split=split,
        observations=needs.observations,
        driving=driving.modality if driving is not None and seen else None,
        augmentation=training.augmentation,
        sampler=Sampler(
            seed=run.spec.seed,
            stage=run.state.stage,
            frames=len(split),
            cameras=len(split.cameras),
            views=views,
            batch=training.batch,
            world=run.fabric.world_size,
        ),
        code=run.spec.code,
    )


def initialize_prior(run: Run, objective: Objective, maker: BatchMaker) -> None:
    """Set the prior's data-dependent parameters from codes of many batches; the same on every rank."""
    noise = stream(run.spec.seed, Purpose.INITIALIZATION, run.state.stage)
    seed_modules(run, step=0, rank=0)
    count = -(-INITIALIZATION_CODES // maker.sampler.batch)
    alone = replace(maker, sampler=replace(maker.sampler, world=1))
    dtype = run.avatar.template_buffers.vertices_mean.dtype
    codes, encodings = [], []
    with (
        torch.no_grad(),
        run.fabric.autocast(),
        closing(ahead(partial(alone.training, rank=0), range(count), run.spec.training.workers)) as batches,
    ):
        for batch in batches:
            posterior, driving = objective.encode(batch.to(run.fabric.device, dtype))
            draw = noise.standard_normal(tuple(posterior.mean.shape), dtype=np.float32)
            codes.append(objective.sample(posterior, torch.from_numpy(draw).to(posterior.mean)))
            encodings.append(driving)
        objective.prior.initialize(torch.cat(codes), _joined(encodings))


def seed_modules(run: Run, step: int, rank: int) -> None:
    """Seed torch's generators on every device that the run uses, for modules such as dropout that know no other."""
    seed = module_seed(run.spec.seed, run.state.stage, step, rank)
    torch.default_generator.manual_seed(seed)
    if run.fabric.device.type == "cuda":
        torch.cuda.manual_seed(seed)


def leave_out_unreached(run: Run, objective: Objective, maker: BatchMaker, parameters: dict[Tensor, str]) -> None:
    """Freeze parameters that no term reaches, such as a decoder's texture without pictures: DDP waits for all.

    Args:
        run: The run.
        objective: Of the stage.
        maker: Of its batches.
        parameters: Those that learn, with their names; the others are taken out.
    """
    dtype = run.avatar.template_buffers.vertices_mean.dtype
    set_modes(run.avatar, objective.stage, learning=False)
    with run.fabric.autocast():
        batch = maker.training(0, 0).to(run.fabric.device, dtype)
        loss, _, _ = objective(batch, final_latent_weight(objective.stage))
    gradients = torch.autograd.grad(loss, list(parameters), allow_unused=True)
    set_modes(run.avatar, objective.stage, learning=True)
    for parameter, gradient in zip(list(parameters), gradients, strict=True):
        if gradient is None:
            parameter.requires_grad_(False)
            del parameters[parameter]


def _joined(encodings: list[Encoding | None]) -> Encoding | None:
    if encodings[0] is None:
        return None
    return Encoding(**{name: torch.cat([getattr(e, name) for e in encodings]) for name in vars(encodings[0])})
