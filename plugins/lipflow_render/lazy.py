"""A rendering that makes what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

from torch import Tensor

from lipflow_core.records import Rendering


class _made_once:
    """Like `functools.cached_property`, but without its lock, which `torch.compile` does not know."""

    def __init__(self, make: Callable[[Any], Any]):
        self._make = make

    def __get__(self, instance: Any, owner: type) -> Any:
        made = instance.__dict__[self._make.__name__] = self._make(instance)
        return made


class LazyRendering(Rendering):
    """A rendering whose depth, corner weights and int64 triangles, and coverage if so told, are made on being read."""

    @classmethod
    def of(
        cls,
        image: Tensor,
        coverage: Tensor | Callable[[], Tensor],
        found: Tensor,
        draw_attributes: Callable[[], tuple[Tensor, Tensor]],
    ) -> LazyRendering:
        """A rendering from what is drawn at once.

        Args:
            image: (B, C, H, W).
            coverage: (B, H, W), or a function that makes it.
            found: (B, H, W) int32, the triangle at each pixel.
            draw_attributes: Makes (depth, barycentric).
        """
        rendering = cls.__new__(cls)
        rendering.__dict__.update(image=image, _coverage=coverage, _found=found, _draw_attributes=draw_attributes)
        return rendering

    @_made_once
    def coverage(self) -> Tensor:
        return self._coverage if isinstance(self._coverage, Tensor) else self._coverage()

    @_made_once
    def triangle(self) -> Tensor:
        return self._found.long()

    @_made_once
    def _attributes(self) -> tuple[Tensor, Tensor]:
        return self._draw_attributes()

    @_made_once
    def depth(self) -> Tensor:
        return self._attributes[0]

    @_made_once
    def barycentric(self) -> Tensor:
        return self._attributes[1]

    def apply(self, function) -> Rendering:
        return Rendering(**{f.name: function(getattr(self, f.name)) for f in fields(Rendering)})
