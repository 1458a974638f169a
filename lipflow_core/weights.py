"""Collects a model's weights by name, shared ones once, and loads them back or lists every difference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from lipflow_core.errors import ModelError

_SHOWN = 5
"""Number of differences of each sort that a message lists."""


def weights_of(module: nn.Module) -> dict[str, Tensor]:
    """Collect all parameters and persistent buffers by name; shared ones are stored once, under their first name."""
    stored: dict[str, Tensor] = {}
    seen: set[int] = set()
    for name, tensor in module.state_dict(keep_vars=True).items():
        if id(tensor) not in seen:
            seen.add(id(tensor))
            stored[name] = tensor.detach()
    return stored


def load_weights(module: nn.Module, weights: Mapping[str, Tensor], source: str) -> None:
    """Copy weights into a module: all of them, or none if any differs.

    Args:
        module: Module to change in place; its tensors keep their devices.
        weights: Result of `weights_of` for an equal module.
        source: File that the weights come from, for messages.

    Raises:
        lipflow_core.errors.ModelError: If names, shapes or types differ, listing how.
    """
    own = weights_of(module)
    differences = {
        "missing": [name for name in own if name not in weights],
        "unexpected": [name for name in weights if name not in own],
        "of another shape": [
            f"{name} ({_shape(weights[name])} in the file, {_shape(tensor)} in the model)"
            for name, tensor in own.items()
            if name in weights and weights[name].shape != tensor.shape
        ],
        "of another type": [
            f"{name} ({_dtype(weights[name])} in the file, {_dtype(tensor)} in the model)"
            for name, tensor in own.items()
            if name in weights and weights[name].dtype != tensor.dtype
        ],
    }
    if any(differences.values()):
        lines = [f"{what}: {_listed(names)}" for what, names in differences.items() if names]
        raise ModelError(
            f"{source}: the weights do not fit the model that the spec describes\n  " + "\n  ".join(lines),
            "The spec was edited since, or the weights belong to another model.",
        )
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(weights[name])


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
    return ", ".join(names[:_SHOWN]) + more


def _shape(tensor: Tensor) -> str:
    return "×".join(map(str, tensor.shape)) or "one number"


def _dtype(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")
