"""Which parameters of a model a stage trains, and the modes that its parts are in."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.errors import SpecError
from lipflow_core.specs.model import Stage


def set_modes(avatar: Avatar, stage: Stage, *, learning: bool) -> None:
    """Training mode for the parts that the stage trains, evaluation mode (batch norm included) for all others.

    Args:
        avatar: The model.
        stage: The stage.
        learning: False puts every part in evaluation mode, for the held-out loss.
    """
    avatar.eval()
    if learning:
        for part in _trained(avatar, stage):
            part.train()


def freeze(avatar: Avatar, stage: Stage) -> dict[Tensor, str]:
    """Let gradients reach the parts that the stage trains and no others; the learning parameters and their names.

    Raises:
        lipflow_core.errors.SpecError: If there are none.
    """
    avatar.requires_grad_(False)
    for part in _trained(avatar, stage):
        part.requires_grad_(True)
    names = {parameter: name for name, parameter in avatar.named_parameters() if parameter.requires_grad}
    if not names:
        raise SpecError(
            f"stage '{stage.name}' trains {', '.join(stage.train)}, which have no parameters in this spec",
            "name other parts in the stage's 'train'",
        )
    return names


def _trained(avatar: Avatar, stage: Stage) -> Iterator[torch.nn.Module]:
    for name in stage.train:
        part = avatar.prior_of(stage.name) if name == "prior" else avatar.part(name)
        if part is not None:
            yield part
