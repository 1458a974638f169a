"""Evaluating trained models: fit their codes to held-out frames and score what is decoded."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from lipflow_core.errors import SpecError
from lipflow_core.evaluation.folder import finished, write_evaluation, write_model
from lipflow_core.evaluation.metrics import DEFINITIONS
from lipflow_core.evaluation.model_run import ModelRun
from lipflow_core.evaluation.result import Evaluation, ModelScores
from lipflow_core.interfaces import Capture
from lipflow_core.model_directory import open_model
from lipflow_core.plans import CaptureInputs
from lipflow_core.progress import Style
from lipflow_core.storage import check_folder
from lipflow_core.version import __version__


def evaluate(
    models: Sequence[str | os.PathLike[str]],
    *,
    frames: int | None = None,
    split: str = "held-out",
    out: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] = (),
    without_likelihood: bool = False,
    force: bool = False,
    style: Style = "none",
) -> Evaluation:
    """Fit held-out frames with trained models and score Q's code, the start of the fit and the fitted code.

    A model that `out` holds already, with the same weights, options and frames, is not run again.

    Args:
        models: Model directories.
        frames: How many frames, evenly spread over the split; the spec's `evaluation.frames` if None.
        split: Which split.
        out: Folder for the scores, codes, curves and pictures (see `lipflow_core.evaluation.folder`); nothing is
            written if None.
        overrides: Of the specs' fitting, evaluation, capture, renderer and device, such as "fitting.steps=50".
        without_likelihood: Fit a second time, without the objectives that ask the prior.
        force: Run models again that are done.
        style: How progress is shown.

    Raises:
        lipflow_core.errors.SpecError: If the models are scored on different views.
        lipflow_core.errors.ModelError: If a folder holds no model, or an override makes its weights not fit.
        lipflow_core.errors.CaptureError: If a frame is damaged or holds NaN.
        lipflow_core.errors.StorageError: If `out` can't be written.

    Example:
        >>> evaluation = evaluate(["runs/dam", "runs/lip-flow-hmc"], frames=32, out="evaluation")
        >>> print(evaluation.table())
    """
    if out is not None:
        check_folder(out)
    opened = [open_model(path, overrides=overrides) for path in models]
    views = sorted({spec.evaluation.view for _, spec in opened})
    if len(views) != 1:
        raise SpecError(
            f"the models are scored on different views ({', '.join(views)}), so that their scores can't be compared",
            hint="choose one for all with evaluation.view=…",
        )
    folder = None if out is None else Path(out)
    names = model_names([(spec.name, Path(path)) for (_, spec), path in zip(opened, models, strict=True)])
    captures: dict[str, Capture] = {}
    scores: list[ModelScores] = []
    for (avatar, spec), path, name in zip(opened, models, names, strict=True):
        key = json.dumps(spec.capture.as_data(), sort_keys=True)
        if key not in captures:
            captures[key] = spec.capture.build(CaptureInputs())
        count = spec.evaluation.frames if frames is None else frames
        run = ModelRun(spec, avatar, Path(path), captures[key], split, count, without_likelihood)
        place = None if folder is None else folder / name
        done = None if place is None or force else finished(place, run.identity)
        if done is None:
            done, fits = run.run(name, name, style)
            if place is not None:
                write_model(place, run, done, fits)
        scores.append(done)
    evaluation = Evaluation(
        models=tuple(scores),
        split=split,
        view=views[0],
        definitions=DEFINITIONS,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        versions={"lipflow-core": __version__, "python": platform.python_version(), "torch": torch.__version__},
    )
    if folder is not None:
        write_evaluation(folder, evaluation)
    return evaluation


def model_names(models: Sequence[tuple[str, Path]]) -> list[str]:
    """How tables and folders call models: their system's name, or where that is not unique their folder's, or both.

    Args:
        models: The spec's name and the folder of each.
    """
    systems = [system for system, _ in models]
    folders = [path.resolve().name for _, path in models]
    if len(set(systems)) == len(systems):
        return systems
    if len(set(folders)) == len(folders):
        return folders
    return [f"{system}-{i + 1}" for i, system in enumerate(systems)]
