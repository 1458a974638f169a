"""What fitting gives back."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

from torch import Tensor

from lipflow_core.records import Record
from lipflow_core.results import Number, Result
from lipflow_core.tables import counted


class GridPoint(Result):
    """One point of a hyper-parameter grid."""

    learning_rate: float | None
    """Learning rate of the code; None if the optimizer has none."""
    latent_weight: float | None
    """Weight of the objectives that ask the prior; None if there is none."""
    score: Number
    """Mean of the metric over the frames; NaN if no frame could be scored."""


class GridChoice(Result):
    """The point of a hyper-parameter grid that scored best."""

    learning_rate: float | None
    """Learning rate of the code; None if the optimizer has none."""
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
        values = {"learning rate": self.learning_rate, "latent weight": self.latent_weight}
        chosen = " and ".join(f"{name} {value:g}" for name, value in values.items() if value is not None)
        score = f"{self.metric} {self.score:.4g} {self.unit}".strip()
        told = "no frame could be scored" if math.isnan(self.score) else score
        return f"{chosen or 'nothing to choose'} ({told}; {self.frames} frames tried)"

    def warning(self) -> str | None:
        """Name the axes that should be wider; None if the choice lies within all of them."""
        names = [name.replace("_", " ") for name in self.at_edge]
        if not names:
            return None
        verb = "lies at the edge of its" if len(names) == 1 else "lie at the edges of their"
        return f"the {' and '.join(names)} {verb} grid; better values may lie beyond"


class FittedFrame(Result):
    """How the fit of one frame ended."""

    segment: str
    """Segment of the frame."""
    number: int
    """Number of the frame within the segment."""
    loss: Number
    """Lowest total loss; NaN if it never was finite, or if the frame shows nothing to fit to."""
    steps: int
    """Updates made."""
    distance: Number
    """Euclidean distance between the fitted code and its start."""
    stopped_not_finite: bool
    """Whether it stopped because its loss was not finite."""
    shows_nothing: bool
    """Whether its targets show nothing, as views with empty masks do: the prior alone decided."""


class Curve(Result):
    """A loss over the steps of a fit."""

    mean: tuple[Number, ...]
    """Mean over the frames still at work, after 0, 1, … updates."""
    rows: tuple[int, ...]
    """Number of frames still at work."""


class FitSummary(Result):
    """What `fit.json` says of a fit."""

    request: dict[str, Any]
    """Everything that the fit depends on: weights, options, frames and version."""
    name: str
    """The spec's name."""
    grid: GridChoice | None
    """How learning rate and latent weight were chosen; null without a grid."""
    frames: tuple[FittedFrame, ...]
    """The frames in the order that they were asked for."""
    curves: dict[str, Curve]
    """Objective, or "total" → its loss over the steps."""

    def notes(self) -> list[str]:
        """Say what is amiss with single frames, a line for each kind."""
        told = {
            "stopped early because the loss was not finite": [f for f in self.frames if f.stopped_not_finite],
            "showed nothing to fit to, as with an empty mask: the prior alone decided": [
                f for f in self.frames if f.shows_nothing
            ],
        }
        return [
            f"{counted(len(found), 'frame')} {what} (the first is {found[0].segment}/{found[0].number:06d})"
            for what, found in told.items()
            if found
        ]


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
        unseen: (B,) bool, rows whose targets show nothing, such as views with empty masks: only the prior decided.
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
    unseen: Tensor
    curves: Mapping[str, Tensor]
    grid: GridChoice | None = None

    def __len__(self) -> int:
        return self.codes.shape[0]

    @property
    def fitted(self) -> Tensor:
        """(B,) bool, rows whose loss was finite at some step."""
        return self.losses.isfinite()

    @property
    def distance(self) -> Tensor:
        """(B,) Euclidean distance between each fitted code and its start."""
        return (self.codes - self.starts).norm(dim=1)

    def as_tensors(self) -> dict[str, Tensor]:
        """Name every tensor, on the CPU, curves as "curves.OBJECTIVE", for safetensors; `from_tensors` reads it."""
        return {name: tensor.cpu().contiguous() for name, tensor in self.tensors()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Read what `as_tensors` made; without the grid, and with the curves in alphabetical order."""
        curves = {name.removeprefix("curves."): tensors[name] for name in sorted(tensors) if name.startswith("curves.")}
        plain = {name: tensor for name, tensor in tensors.items() if not name.startswith("curves.")}
        return cls(**{"poses": None, **plain}, curves=curves)
