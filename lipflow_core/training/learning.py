"""Sets the parameters that a stage trains, and the modes of its parts."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from lipflow_core.avatar import Avatar
from lipflow_core.errors import SpecError
from lipflow_core.specs.model import Stage


def set_modes(avatar: Avatar, stage: Stage, *, learning: bool) -> None:
    """Put the parts that the stage trains in training mode, and all others, batch norm included, in evaluation mode.

    Args:
        avatar: Model whose modes are set.
        stage: Stage of training.
        learning: Whether the stage is learning; False puts every part in evaluation mode, for the held-out loss.
    """
    avatar.eval()
    if learning:
        for part in parts_of(avatar, stage, stage.train):
            part.train()


def freeze(avatar: Avatar, stage: Stage) -> dict[Tensor, str]:
    """Enable gradients for the parts that the stage trains and for no others.

    Returns:
        Parameter → name, for the parameters that learn.

    Raises:
        lipflow_core.errors.SpecError: If no parameter learns.
    """
    avatar.requires_grad_(False)
    for part in parts_of(avatar, stage, stage.train):
        part.requires_grad_(True)
    names = {parameter: name for name, parameter in avatar.named_parameters() if parameter.requires_grad}
    if not names:
        raise SpecError(
            f"stage '{stage.name}' trains {', '.join(stage.train)}, but these have no parameters in this spec",
            "name other parts in the stage's 'train'",
        )
    return names


def parts_of(avatar: Avatar, stage: Stage, names: Sequence[str]) -> list[nn.Module]:
    """Collect the named parts that the model has; "prior" is the stage's prior."""
    parts = [avatar.prior_of(stage.name) if name == "prior" else avatar.part(name) for name in names]
    return [part for part in parts if part is not None]
