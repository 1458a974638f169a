"""What the stages of a run share."""

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
    """What all stages of a run share.

    Args:
        spec: The spec.
        fabric: Launched.
        avatar: On the fabric's device.
        objectives: Stage's name → its objectives by name, built.
        capture: Where frames come from.
        directory: Where the run is kept.
        metrics: Its log; None on other ranks than the first.
        state: Where it stands, kept up to date.
        progress: Advanced by each step.
        stop: Asked after each step whether to save and end.
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
        """Write a checkpoint of the state with these tensors."""
        if self.metrics is not None:
            self.state.metrics_bytes = self.metrics.sync()
            self.directory.checkpoints.save(self.state, tensors)

    def log(self, row: dict[str, object]) -> None:
        """Append to metrics.jsonl."""
        if self.metrics is not None:
            self.metrics.write(row)
