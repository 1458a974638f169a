"""What fitting gives back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Self

import torch
from torch import Tensor

from lipflow_core.records import Record

if TYPE_CHECKING:
    from lipflow_core.fitting.grid import GridChoice


@dataclass(frozen=True)
class FittingResult(Record):
    """B fitted rows. Each row's code, pose and loss are those of the step at which its total loss was lowest.

    Args:
        codes: (B, D) fitted codes.
        starts: (B, D) the codes that fitting started from.
        poses: (B, 3, 4) fitted [R|t] of the headset, millimetres; None if the pose was not fitted.
        losses: (B,) lowest total loss.
        steps: (B,) int64 updates made before the row stopped.
        best_steps: (B,) int64 updates after which the loss was lowest.
        nonfinite: (B,) bool, rows that stopped because their loss was not finite.
        skipped: (B,) int64 updates made without a gradient because it was not finite.
        curves: Objective's name → (B, S+1) its unweighted loss after 0, 1, … S updates, and "total" → the weighted sum;
            NaN after a row stopped.
        grid: How learning rate and latent weight were chosen; None without a grid.
    """

    codes: Tensor
    starts: Tensor
    poses: Tensor | None
    losses: Tensor
    steps: Tensor
    best_steps: Tensor
    nonfinite: Tensor
    skipped: Tensor
    curves: Mapping[str, Tensor]
    grid: GridChoice | None = None

    def __len__(self) -> int:
        return self.codes.shape[0]

    @property
    def distance(self) -> Tensor:
        """(B,) Euclidean distance between each fitted code and its start."""
        return (self.codes - self.starts).norm(dim=1)

    def as_tensors(self) -> dict[str, Tensor]:
        """Every tensor on the CPU by name, curves as "curves.OBJECTIVE", for safetensors; `from_tensors` reads it."""
        named = {f.name: getattr(self, f.name) for f in fields(self)}
        named |= {f"curves.{name}": curve for name, curve in self.curves.items()}
        return {name: value.cpu().contiguous() for name, value in named.items() if isinstance(value, Tensor)}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What `as_tensors` made; without the grid."""
        curves = {name.removeprefix("curves."): t for name, t in tensors.items() if name.startswith("curves.")}
        plain = {name: tensor for name, tensor in tensors.items() if not name.startswith("curves.")}
        return cls(**{"poses": None, **plain}, curves=curves)

    @classmethod
    def join(cls, results: Sequence[Self]) -> Self:
        """Results of several batches, fitted with the same options, as one."""
        first = results[0]
        joined = {
            f.name: torch.cat([getattr(result, f.name) for result in results])
            for f in fields(cls)
            if isinstance(getattr(first, f.name), Tensor)
        }
        curves = {name: torch.cat([result.curves[name] for result in results]) for name in first.curves}
        return replace(first, **joined, curves=curves)
