"""Holds the results of fits: fitted codes with their losses, the choice of a grid search, and the summary on disk."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self

import torch
from torch import Tensor

from lipflow_core.fitting.pose import composed
from lipflow_core.records import Record
from lipflow_core.results import Number, Result
from lipflow_core.sequences import runs_of
from lipflow_core.tables import counted

_STAYED = 1e-4
"""Largest distance of a code from its start that counts as none: a start may pass through the base space and back."""


class GridPoint(Result):
    """Holds one point of a hyper-parameter grid and its score."""

    learning_rate: float | None
    """Learning rate of the code; None if the optimizer has none."""
    latent_weight: float | None
    """Weight of the objectives that ask the prior; None if there is none."""
    score: Number
    """Mean of the metric over the frames; NaN if no frame could be scored."""


class GridChoice(Result):
    """Holds the point of a hyper-parameter grid that scored best."""

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
    """Hyper-parameters whose chosen value is the first or last of its axis; better values may lie beyond."""
    frames: int
    """Number of frames that the points were tried on."""
    chosen_on: Literal["scored", "training", "apart"] = "scored"
    """Frames that the points were tried on; see the option `fitting.grid.choose_on`."""

    def describe(self) -> str:
        """Say what was chosen, as part of a sentence."""
        values = {"learning rate": self.learning_rate, "latent weight": self.latent_weight}
        chosen = " and ".join(f"{name} {value:g}" for name, value in values.items() if value is not None)
        score = f"{self.metric} {self.score:.4g} {self.unit}".strip()
        told = "no frame could be scored" if math.isnan(self.score) else score
        tried = counted(self.frames, "training frame" if self.chosen_on == "training" else "frame")
        apart = " that are not scored" if self.chosen_on == "apart" else ""
        return f"{chosen or 'nothing to choose'} ({told}; tried on {tried}{apart})"

    def warning(self) -> str | None:
        """Name the axes that should be wider; None if the choice lies within all of them."""
        names = [name.replace("_", " ") for name in self.at_edge]
        if not names:
            return None
        verb = "lies at the edge of its" if len(names) == 1 else "lie at the edges of their"
        return f"the {' and '.join(names)} {verb} grid; better values may lie beyond"


class FittedFrame(Result):
    """Tells how the fit of one frame ended."""

    segment: str
    """Segment of the frame."""
    number: int
    """Number of the frame within the segment."""
    loss: Number
    """Lowest total loss; NaN if it was never finite, or if the frame shows nothing to fit to."""
    steps: int
    """Number of updates that were made."""
    distance: Number
    """Euclidean distance between the fitted code and its start."""
    stopped_not_finite: bool
    """Whether the fit stopped because its loss was not finite."""
    shows_nothing: bool
    """Whether the targets show nothing, as views with empty masks do; the prior alone then decides the code."""
    pose_degrees: Number | None = None
    """Angle by which the driving cameras' pose is off after the fit; null if it was neither fitted nor perturbed."""
    pose_millimetres: Number | None = None
    """Distance by which that pose displaces the head's origin; null like the angle."""


class Curve(Result):
    """Holds a loss over the steps of a fit, averaged over frames."""

    mean: tuple[Number, ...]
    """Mean loss after 0, 1, … updates, over the frames that had not stopped by then."""
    rows: tuple[int, ...]
    """Number of frames that had not stopped by then."""


class FitSummary(Result):
    """Holds the content of `fit.json`."""

    request: dict[str, Any]
    """Weights, options, frames and version that the fit depends on."""
    name: str
    """The spec's name."""
    grid: GridChoice | None
    """Choice of the grid search; null without a grid."""
    frames: tuple[FittedFrame, ...]
    """Fitted frames, in the order in which they were requested."""
    curves: dict[str, Curve]
    """Objective, or "total" → its loss over the steps."""

    def notes(self) -> list[str]:
        """Say what is amiss with single frames, a line for each kind, and whether a temporal prior had no effect."""
        temporal = self.request["spec"]["fitting"].get("temporal") is not None
        told = {
            "stopped early because the loss was not finite": [f for f in self.frames if f.stopped_not_finite],
            "showed nothing to fit to, as with an empty mask: the prior alone decided": [
                f for f in self.frames if f.shows_nothing
            ],
            "stayed at their start, since no step lowered the loss of their run; lower the learning rate or "
            "fitting.temporal.weight": [
                f for f in self.frames if temporal and f.steps > 0 and f.distance < _STAYED and not f.stopped_not_finite
            ],
        }
        runs = runs_of([frame.segment for frame in self.frames], [frame.number for frame in self.frames])
        without_effect = temporal and len(runs) == len(self.frames)
        alone = "no two of the frames follow each other in a segment, so that fitting.temporal changed nothing"
        return [
            f"{counted(len(found), 'frame')} {what} (the first is {found[0].segment}/{found[0].number:06d})"
            for what, found in told.items()
            if found
        ] + ([alone] if without_effect else [])


@dataclass(frozen=True)
class FittingResult(Record):
    """Holds B fitted rows. Each row keeps the code, pose and loss of the step at which its total loss was lowest.

    Args:
        codes: (B, D) fitted codes.
        starts: (B, D) codes that fitting started from.
        poses: (B, 3, 4) fitted [R|t] of the driving device, millimetres; None if the pose was not fitted.
        perturbations: (B, 3, 4) [R|t] by which the driving cameras that the fit was given are displaced from the true
            ones; None if they were the true ones.
        losses: (B,) lowest total loss.
        steps: (B,) int64 number of updates before the row stopped.
        best_steps: (B,) int64 number of updates after which the loss was lowest.
        nonfinite: (B,) bool, True for rows that stopped because their loss was not finite.
        skipped: (B,) int64 number of updates without a gradient, because it was not finite.
        unseen: (B,) bool, True for rows whose targets show nothing, such as views with empty masks; the prior alone
            decides their codes.
        curves: Objective's name → (B, S+1) unweighted loss after 0, 1, … S updates, and "total" → the weighted sum;
            NaN after a row stopped.
        grid: Choice of the grid search; None without a grid.
    """

    codes: Tensor
    starts: Tensor
    poses: Tensor | None
    perturbations: Tensor | None
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

    @property
    def start_residual(self) -> Tensor | None:
        """(B, 3, 4) the `residual` before the fit, when the fitted pose is the identity; None like it."""
        if self.poses is None or self.perturbations is not None:
            return self.perturbations
        return torch.eye(3, 4).to(self.poses).expand_as(self.poses)

    @property
    def residual(self) -> Tensor | None:
        """(B, 3, 4) [R|t] by which the driving cameras are displaced from the true ones after the fit.

        None if the pose was neither fitted nor perturbed.
        """
        if self.poses is None or self.perturbations is None:
            return self.perturbations if self.poses is None else self.poses
        return composed(self.perturbations, self.poses)

    def as_tensors(self) -> dict[str, Tensor]:
        """Collect all tensors by name on the CPU, for safetensors; curves are named "curves.OBJECTIVE"."""
        return {name: tensor.cpu().contiguous() for name, tensor in self.tensors()}

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> Self:
        """Undo `as_tensors`. The grid's choice is lost, and the curves are in alphabetical order."""
        curves = {name.removeprefix("curves."): tensors[name] for name in sorted(tensors) if name.startswith("curves.")}
        plain = {name: tensor for name, tensor in tensors.items() if not name.startswith("curves.")}
        return cls(**{"poses": None, "perturbations": None, **plain}, curves=curves)
