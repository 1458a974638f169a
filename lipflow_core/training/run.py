"""The run, which all its stages share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.interfaces import Capture, Objective
from lipflow_core.progress import Progress
from lipflow_core.specs.model import Spec
from lipflow_core.training.run_directory import Metrics, RunDirectory
from lipflow_core.training.state import RunState

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class Run:
    """A training run: the model, its data, and its state, which all stages share.

    Args:
        spec: Spec that is trained.
        fabric: Fabric, launched.
        avatar: Model on the fabric's device.
        objectives: Stage's name → its objectives by name, built.
        capture: Capture that provides the frames.
        directory: Folder of the run.
        metrics: Log of the run; None on ranks other than 0.
        state: State of the run, updated after each step.
        progress: Progress that each step advances.
        stop: Function called after each step; the run saves and ends if it returns True.
    """

    spec: Spec
    fabric: Fabric
    avatar: Avatar
    objectives: Mapping[str, Mapping[str, Objective]]
    capture: Capture
    directory: RunDirectory
    metrics: Metrics | None
    state: RunState
    progress: Progress
    stop: Callable[[], bool]

    def save(self, tensors: dict[str, Tensor]) -> None:
        """Write a checkpoint of the state and some tensors."""
        if self.metrics is not None:
            self.state.metrics_bytes = self.metrics.sync()
            self.directory.checkpoints.save(self.state, tensors)

    def log(self, row: dict[str, object]) -> None:
        """Append a row to metrics.jsonl."""
        if self.metrics is not None:
            self.metrics.write(row)
