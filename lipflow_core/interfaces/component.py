"""What all component classes share: their configuration and plan, and the check of a tensor's shape."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn

from lipflow_core.config import Config
from lipflow_core.plans import Plan


class ComponentModule(nn.Module):
    """A component that may hold parameters.

    Args:
        config: Its options.
        given: The inputs of its kind.

    Attributes:
        config: As given.
        given: As given.
        planned: `config.plan(given)`.
    """

    def __init__(self, config: Config, given: Any):
        super().__init__()
        self.config = config
        self.given = given
        self.planned: Plan = config.plan(given)


def check_shape(where: object, name: str, tensor: Tensor, pattern: str, **sizes: int) -> None:
    """Raise a ValueError unless `tensor` has the shape that `pattern` names.

    Args:
        where: The object that checks, named in the message.
        name: The tensor's name.
        tensor: The tensor.
        pattern: Axis names, space separated, such as "B D".
        sizes: Known sizes by axis name; an axis not named here may have any size.
    """
    axes = pattern.split()
    fits = tensor.ndim == len(axes) and all(
        axis not in sizes or sizes[axis] == size for axis, size in zip(axes, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
        got = ", ".join(map(str, tensor.shape))
        raise ValueError(f"{type(where).__name__}: {name} must have shape ({wanted}), got ({got})")
