"""Prepares a stage: its batches, its prior's data-dependent parameters, and the parameters with a gradient."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from functools import partial

import numpy as np
import torch
from torch import Tensor

from lipflow_core.errors import CompatibilityError, NumericalError
from lipflow_core.records import Encoding
from lipflow_core.splits import open_split
from lipflow_core.training.batches import BatchMaker, ahead
from lipflow_core.training.learning import set_modes
from lipflow_core.training.randomness import Purpose, Sampler, module_seed, stream
from lipflow_core.training.run import Run
from lipflow_core.training.stage_loss import StageLoss, final_weights

INITIALIZATION_CODES = 256
"""Least number of codes that initialise a prior; fewer ruin activation normalisation (see docs/training.md)."""


def batch_maker(run: Run, loss: StageLoss, split_name: str) -> BatchMaker:
    """Make the maker of a stage's batches from one split.

    Raises:
        lipflow_core.errors.CaptureError: If the split has no frames.
        lipflow_core.errors.CompatibilityError: If a step takes more views or frames than the capture has.
    """
    training, needs = run.spec.training, loss.needs
    split = open_split(run.capture, split_name)
    if split_name == "train" and training.batch > len(split):
        raise CompatibilityError(
            f"training.batch is {training.batch}, but split 'train' of capture '{run.spec.capture.name}' has "
            f"{len(split)} frames",
            f"set training.batch to at most {len(split)}",
        )
    roles = run.avatar.roles
    views = training.views if roles.training_views in needs.observations else 0
    if views > len(split.cameras):
        raise CompatibilityError(
            f"training.views is {views}, but the capture has {len(split.cameras)} cameras in its training views",
            f"set training.views to at most {len(split.cameras)}",
        )
    driving = run.avatar.driving
    seen = needs.driving or run.avatar.encoder is driving
    return BatchMaker(
        split=split,
        observations=needs.observations,
        driving=driving if seen else None,
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


def initialize_prior(run: Run, loss: StageLoss, maker: BatchMaker) -> None:
    """Set the prior's data-dependent parameters from codes of many batches, equally on every rank."""
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
            posterior, driving = loss.encode(batch.to(run.fabric.device, dtype))
            draw = noise.standard_normal(tuple(posterior.mean.shape), dtype=np.float32)
            codes.append(loss.sample(posterior, torch.from_numpy(draw).to(posterior.mean)))
            encodings.append(driving)
        given = None if encodings[0] is None else Encoding.join(encodings)
        made = {"Q's codes": torch.cat(codes)} | ({} if given is None else {"the driving features": given.features})
        for what, tensor in made.items():
            if not tensor.isfinite().all():
                raise NumericalError(
                    f"stage '{loss.stage.name}': before the first step {what} hold NaN or infinity",
                    "Check the options of the encoders and of their augmentation.",
                )
        loss.prior.initialize(torch.cat(codes), given)


def seed_modules(run: Run, step: int, rank: int) -> None:
    """Seed torch's global generators on every device of the run, since modules such as dropout use them."""
    seed = module_seed(run.spec.seed, run.state.stage, step, rank)
    torch.default_generator.manual_seed(seed)
    if run.fabric.device.type == "cuda":
        torch.cuda.manual_seed(seed)


def leave_out_unreached(run: Run, loss: StageLoss, maker: BatchMaker, parameters: dict[Tensor, str]) -> None:
    """Freeze parameters without a gradient, such as a decoder's texture without pictures: DDP waits for all others.

    Args:
        run: Run that the stage belongs to.
        loss: Loss of the stage.
        maker: Maker of the stage's batches.
        parameters: Learning parameter → name; parameters without a gradient are removed from it.
    """
    dtype = run.avatar.template_buffers.vertices_mean.dtype
    set_modes(run.avatar, loss.stage, learning=False)
    with run.fabric.autocast():
        batch = maker.training(0, 0).to(run.fabric.device, dtype)
        value, _, _ = loss(batch, final_weights(loss.needs.objectives))
    gradients = torch.autograd.grad(value, list(parameters), allow_unused=True)
    set_modes(run.avatar, loss.stage, learning=True)
    for parameter, gradient in zip(list(parameters), gradients, strict=True):
        if gradient is None:
            parameter.requires_grad_(False)
            del parameters[parameter]
