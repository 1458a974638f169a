"""The kinds of cells: capture, train, choose, fit and score. Each is a few lines around the command that does its work.

A cell's `what` decides everything; its `options` hold the resolved spec that the work is called with.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from pydantic import TypeAdapter
from safetensors.torch import load_file

from lipflow_core.ablation.work import Kinds, Task
from lipflow_core.errors import ModelError
from lipflow_core.evaluation.candidate import Candidate
from lipflow_core.evaluation.folder import write_model
from lipflow_core.evaluation.frames import frames_to_score
from lipflow_core.evaluation.model_evaluation import FITTED, ModelEvaluation
from lipflow_core.fitting.model_fit import CODES, fit_model, search_grid
from lipflow_core.fitting.result import FittingResult, GridChoice
from lipflow_core.interfaces import Split
from lipflow_core.model_directory import OpenedModel, open_model
from lipflow_core.parts import CaptureSlot
from lipflow_core.plans import CaptureInputs
from lipflow_core.registry import default_registry
from lipflow_core.specs import load_spec
from lipflow_core.splits import open_capture, open_split
from lipflow_core.training import train

RUN, FIT, SCORES = "run", "fit", "scores"
"""Folders within a cell's that the kinds "train", "fit" and "score" leave."""


def capture_cell(task: Task) -> dict[str, Any]:
    """Make the frames of a capture, unless its cache has them."""
    context = {"registry": default_registry(), "preset": None}
    part = TypeAdapter(CaptureSlot).validate_python(task.cell.options["capture"], context=context)
    capture = part.build(CaptureInputs())
    return {"frames": {name: len(open_split(capture, name)) for name in ("train", "held-out")}}


def train_cell(task: Task) -> dict[str, Any]:
    """Train a stage, after the cell that trained the stages before it."""
    _use_numerics(task)
    spec = load_spec(task.cell.options["spec"])
    after = task.needs["after"].path / RUN if "after" in task.needs else None
    result = train(spec, task.folder / RUN, resume=True, after=after, stop=task.stop)
    return result.summary.model_dump(mode="json")


def choose_cell(task: Task) -> dict[str, Any]:
    """Choose learning rate and latent weight by a grid search."""
    _use_numerics(task)
    opened = _open(task)
    split, indices = _frames(task, opened)
    return search_grid(opened, split, indices).model_dump(mode="json")


def fit_cell(task: Task) -> dict[str, Any]:
    """Fit the codes of all frames, batch by batch."""
    _use_numerics(task)
    opened = _open(task)
    _, indices = _frames(task, opened)
    summary = fit_model(
        _model(task),
        task.folder / FIT,
        frames=",".join(map(str, indices.tolist())),
        split=task.cell.what["split"],
        overrides=_overrides(task),
        chosen=_chosen(task),
    )
    return {"notes": summary.notes(), "grid": None if summary.grid is None else summary.grid.model_dump(mode="json")}


def score_cell(task: Task) -> dict[str, Any]:
    """Score Q's code, the start and, after a fit, the fitted code of all frames."""
    _use_numerics(task)
    candidate = replace(Candidate.of(_model(task), _overrides(task)), overrides=())
    capture = open_capture(candidate.blueprint)
    split = open_split(capture, task.cell.what["split"])
    indices = _indices(task, split)
    fitted = {}
    if "fitted" in task.needs:
        fit = FittingResult.from_tensors(load_file(task.needs["fitted"].path / FIT / CODES))
        grid = task.needs["fitted"].result().value["grid"]
        fitted[FITTED] = replace(fit, grid=None if grid is None else GridChoice.model_validate(grid))
    evaluation = ModelEvaluation(candidate, capture, split, task.cell.what["split"], indices, fitted=fitted)
    scores, fits, pictures = evaluation.run(SCORES, "none")
    write_model(task.folder / SCORES, candidate, scores, fits, pictures)
    return {"means": scores.model_dump(mode="json")["means"], "notes": scores.notes()}


KINDS: Kinds = {
    "capture": capture_cell,
    "train": train_cell,
    "choose": choose_cell,
    "fit": fit_cell,
    "score": score_cell,
}
"""Kind → the function that does its work."""


def _use_numerics(task: Task) -> None:
    """Set torch's threads as the cell's key says, and check that the rest of its numerics is this machine's.

    Raises:
        lipflow_core.errors.ModelError: If the cell was planned for another torch or device.
    """
    numerics = task.cell.how["numerics"]
    torch.set_num_threads(numerics["threads"])
    if numerics["torch"] != torch.__version__:
        raise ModelError(
            f"the cell was planned for torch {numerics['torch']}, this worker has {torch.__version__}",
            "Use one environment for drivers and workers.",
        )
    if numerics["device"] == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            "the cell was planned for a GPU, this worker has none",
            "Start the driver where its workers are, or set device=cpu.",
        )


def _model(task: Task) -> Path:
    return task.needs["model"].path / RUN


def _overrides(task: Task) -> list[str]:
    """Options in which the spec of the fit differs from the spec of the training."""
    spec = task.cell.options["spec"]
    return [f"{name}={json.dumps(spec[name])}" for name in ("capture", "renderer", "fitting", "evaluation")]


def _open(task: Task) -> OpenedModel:
    return open_model(_model(task), overrides=_overrides(task))


def _frames(task: Task, opened: OpenedModel) -> tuple[Split, np.ndarray]:
    split = open_split(open_capture(opened.blueprint), task.cell.what["split"])
    return split, _indices(task, split)


def _indices(task: Task, split: Split) -> np.ndarray:
    return frames_to_score(split, task.cell.what["frames"], whole_segments=task.cell.what["whole_segments"])


def _chosen(task: Task) -> GridChoice | None:
    if "chosen" not in task.needs:
        return None
    return GridChoice.model_validate(task.needs["chosen"].result().value)
