"""Defines the base of all component classes that are torch modules, and the check of a tensor's shape."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from torch import Tensor, nn

from lipflow_core.config import Config
from lipflow_core.plans import Plan


class ComponentModule(nn.Module):
    """A component that is a torch module and may hold parameters.

    Args:
        config: Options of the component.
        given: Inputs of the component's kind.

    Attributes:
        config: The options.
        given: The inputs.
        planned: The plan, `config.plan(given)`.
    """

    def __init__(self, config: Config, given: Any):
        super().__init__()
        self.config = config
        self.given = given
        self.planned: Plan = config.plan(given)


class Foldable(ABC):
    """A module that can compute once what depends on its weights alone, such as a normalised weight.

    A component, or a module within one, derives from it beside `nn.Module`. While a model is frozen
    (`lipflow_core.avatar.frozen`) its weights can't change; all its foldable modules are folded then, so that each step
    of a fit uses what was computed once.
    """

    @abstractmethod
    def fold(self) -> None:
        """Compute what depends on the weights alone, and use it until `unfold` is called."""

    @abstractmethod
    def unfold(self) -> None:
        """Forget what `fold` computed."""


def check_shape(where: object, name: str, tensor: Tensor, pattern: str, **sizes: int) -> None:
    """Raise a ValueError unless `tensor` has the shape that `pattern` names.

    Args:
        where: Object that makes the check; the message names its class.
        name: Name of the tensor in the message.
        tensor: Tensor to check.
        pattern: Names of the axes, separated by spaces, such as "B D".
        sizes: Known sizes by axis name; other axes may have any size.
    """
    axes = pattern.split()
    fits = tensor.ndim == len(axes) and all(
        axis not in sizes or sizes[axis] == size for axis, size in zip(axes, tensor.shape, strict=True)
    )
    if not fits:
        wanted = ", ".join(str(sizes.get(axis, axis)) for axis in axes)
        got = ", ".join(map(str, tensor.shape))
        raise ValueError(f"{type(where).__name__}: {name} must have shape ({wanted}), got ({got})")
