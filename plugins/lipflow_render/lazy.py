"""A rendering that makes what is asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from functools import cached_property

import torch
from torch import Tensor

from lipflow_core.records import Rendering


class LazyRendering(Rendering):
    """A rendering whose depth, corner weights and int64 triangles, and coverage if so told, are made on being read."""

    @classmethod
    def of(
        cls,
        image: Tensor,
        coverage: Tensor | Callable[[], Tensor],
        found: Tensor,
        draw_attributes: Callable[[], tuple[Tensor, Tensor]],
    ) -> Rendering:
        """A rendering from what is drawn at once; within graphs of `torch.compile` a plain one.

        Args:
            image: (B, C, H, W).
            coverage: (B, H, W), or a function that makes it.
            found: (B, H, W) int32, the triangle at each pixel.
            draw_attributes: Makes (depth, barycentric).
        """
        if torch.compiler.is_compiling():
            # The graph leaves out what nobody reads, and can't hold the locks of Python 3.11's cached properties.
            depth, barycentric = draw_attributes()
            covered = coverage if isinstance(coverage, Tensor) else coverage()
            return Rendering(image, covered, depth, found.long(), barycentric)
        rendering = cls.__new__(cls)
        rendering.__dict__.update(image=image, _coverage=coverage, _found=found, _draw_attributes=draw_attributes)
        return rendering

    @cached_property
    def coverage(self) -> Tensor:
        return self._coverage if isinstance(self._coverage, Tensor) else self._coverage()

    @cached_property
    def triangle(self) -> Tensor:
        return self._found.long()

    @cached_property
    def _attributes(self) -> tuple[Tensor, Tensor]:
        return self._draw_attributes()

    @cached_property
    def depth(self) -> Tensor:
        return self._attributes[0]

    @cached_property
    def barycentric(self) -> Tensor:
        return self._attributes[1]

    def apply(self, function) -> Rendering:
        return Rendering(**{f.name: function(getattr(self, f.name)) for f in fields(Rendering)})
