"""Reads the first stages of a training from a run of their own, so that other trainings go on from them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from lipflow_core.errors import ModelError
from lipflow_core.specs.model import Spec
from lipflow_core.training.checkpoints import Checkpoint
from lipflow_core.training.run_directory import RunDirectory


def first_stages(path: Path, spec: Spec, warn: Callable[[str], None]) -> Checkpoint:
    """Read the state and weights with which the next stage of a spec begins.

    Args:
        path: Finished run of the first stages.
        spec: Spec of the whole training.
        warn: Function called with a line for each damaged checkpoint.

    Raises:
        lipflow_core.errors.ModelError: If the run is not finished, has lost its checkpoints, or has other stages.
    """
    directory = RunDirectory(path)
    checkpoint = directory.checkpoints.latest(warn) if directory.result() is not None else None
    if checkpoint is None:
        raise ModelError(f"{path}: holds no finished run with its checkpoints", "train the first stages there again")
    ran, wanted = [stage.name for stage in checkpoint.state.finished], [stage.name for stage in spec.training.stages]
    if ran != wanted[: len(ran)] or len(ran) >= len(wanted):
        raise ModelError(
            f"{path}: its stages are {', '.join(ran)}, which are not the first ones of {', '.join(wanted)}",
            "give a run of the spec's first stages",
        )
    return replace(checkpoint, state=checkpoint.state.model_copy(update={"metrics_bytes": 0}))
