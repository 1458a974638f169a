"""Defines renderings whose parts are computed when they are first read, since many losses read the image only."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import torch
from torch import Tensor

from lipflow_core.records import Rendering

_NAMES = tuple(field.name for field in fields(Rendering))


class LazyRendering(Rendering):
    """Computes some parts of a rendering when they are first read, and keeps them.

    These parts carry gradients if gradients were recorded when the picture was drawn, even if they are read under
    `torch.no_grad`.
    """

    @classmethod
    def of(
        cls, parts: Mapping[str | tuple[str, ...], Tensor | Callable[[], Any]], inputs: Sequence[Tensor] = ()
    ) -> Rendering:
        """Build a lazy rendering. Under `torch.compile` all parts are computed at once and unused ones are eliminated.

        Args:
            parts: Each field of `Rendering` by name: a tensor, or a function that computes it. A tuple of names stands
                for a function that computes several fields.
            inputs: Tensors that the functions read and that the caller may change in place. To read a part after such a
                change raises a RuntimeError. Fused optimisers change tensors unnoticed: copy what they may change.

        Returns:
            The rendering.
        """
        made: dict[str, Any] = {
            name: part for name, part in parts.items() if isinstance(name, str) and isinstance(part, Tensor)
        }
        makers = {name: part for name, part in parts.items() if name not in made}
        if torch.compiler.is_compiling():
            for name, make in makers.items():
                made |= _named(name, make())
            return Rendering(**made)
        rendering = cls.__new__(cls)
        seen = [(tensor, _version(tensor)) for tensor in inputs]
        rendering.__dict__.update(made, _makers=makers, _inputs=seen, _recorded=torch.is_grad_enabled())
        return rendering

    def __getattr__(self, name: str) -> Any:
        makers = self.__dict__.get("_makers", {})
        key = next((key for key in makers if name == key or (isinstance(key, tuple) and name in key)), None)
        if key is None:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        if any(_version(tensor) != version for tensor, version in self._inputs):
            raise RuntimeError(
                f"'{name}' of a rendering is computed when it is first read, but tensors that it is computed from were "
                "changed in place after drawing: read it before the change, or draw clones of these tensors"
            )
        with torch.set_grad_enabled(self._recorded):
            self.__dict__.update(_named(key, makers[key]()))
        return self.__dict__[name]

    def __reduce__(self) -> tuple:
        return Rendering, tuple(getattr(self, name) for name in _NAMES)


def joined(renderings: Sequence[Rendering]) -> Rendering:
    """Concatenate renderings of pictures of one size, lazily: no part is computed before it is read."""
    if len(renderings) == 1:
        return renderings[0]

    def join(name: str) -> Tensor:
        return torch.cat([getattr(rendering, name) for rendering in renderings])

    return LazyRendering.of({name: partial(join, name) for name in _NAMES})


def _named(names: str | tuple[str, ...], made: Any) -> dict[str, Tensor]:
    return {names: made} if isinstance(names, str) else dict(zip(names, made, strict=True))


def _version(tensor: Tensor) -> int:
    return 0 if tensor.is_inference() else tensor._version
