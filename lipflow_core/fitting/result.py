"""What fitting gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

from torch import Tensor

from lipflow_core.records import Record
from lipflow_core.results import Number, Result


class GridPoint(Result):
    """One point of a hyper-parameter grid."""

    learning_rate: float
    """Learning rate of the code."""
    latent_weight: float | None
    """Weight of the objectives that ask the prior; None if there is none."""
    score: Number
    """Mean of the metric over the frames; NaN if no frame could be scored."""


class GridChoice(Result):
    """The point of a hyper-parameter grid that scored best."""

    learning_rate: float
    """Learning rate of the code."""
    latent_weight: float | None
    """Weight of the objectives that ask the prior; None if there is none."""
    metric: str
    """Heading of the metric that decided, such as "PSNR"."""
    unit: str
    """Unit of the metric."""
    score: Number
    """Mean of the metric over the frames at this point; NaN if no frame could be scored."""
    points: tuple[GridPoint, ...]
    """Every point with its score."""
    at_edge: tuple[Literal["learning_rate", "latent_weight"], ...]
    """Which of the two lies at the edge of its axis, so that better values may lie beyond."""
    frames: int
    """Number of frames that the points were tried on."""

    def describe(self) -> str:
        """Say what was chosen, as part of a sentence."""
        weight = "" if self.latent_weight is None else f" and latent weight {self.latent_weight:g}"
        score = f"{self.metric} {self.score:.4g} {self.unit}".strip()
        told = "no frame could be scored" if math.isnan(self.score) else score
        return f"learning rate {self.learning_rate:g}{weight} ({told}; {self.frames} frames tried)"

    def warning(self) -> str | None:
        """Name the axes that should be wider; None if the choice lies within all of them."""
        names = [name.replace("_", " ") for name in self.at_edge]
        if not names:
            return None
        verb = "lies at the edge of its" if len(names) == 1 else "lie at the edges of their"
        return f"the {' and '.join(names)} {verb} grid; better values may lie beyond"


@dataclass(frozen=True)
class FittingResult(Record):
    """B fitted rows. Each row's code, pose and loss are those of the step at which its total loss was lowest.

    Args:
        codes: (B, D) fitted codes.
        starts: (B, D) the codes that fitting started from.
        poses: (B, 3, 4) fitted [R|t] of the driving device, millimetres; None if the pose was not fitted.
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
        return {name: tensor.cpu().contiguous() for name, tensor in self.tensors()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """What `as_tensors` made; without the grid."""
        curves = {name.removeprefix("curves."): t for name, t in tensors.items() if name.startswith("curves.")}
        plain = {name: tensor for name, tensor in tensors.items() if not name.startswith("curves.")}
        return cls(**{"poses": None, **plain}, curves=curves)
