"""Evaluates trained models: the public entry."""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path

import torch

from lipflow_core.claiming import CLAIM, claimed
from lipflow_core.errors import SpecError, UsageError
from lipflow_core.evaluation.candidate import Candidate, Model, candidates, names_of
from lipflow_core.evaluation.folder import EVALUATION, SCORES, finished, write_evaluation, write_model
from lipflow_core.evaluation.frames import frames_to_score
from lipflow_core.evaluation.model_evaluation import ModelEvaluation
from lipflow_core.evaluation.result import Evaluation, ModelScores
from lipflow_core.interfaces import Capture
from lipflow_core.progress import Style
from lipflow_core.selection import positions
from lipflow_core.splits import open_capture, open_split
from lipflow_core.storage import check_folder, remove_temporaries
from lipflow_core.version import __version__


def evaluate(
    models: Model | Iterable[Model],
    *,
    count: int | None = None,
    frames: str | None = None,
    split: str = "held-out",
    out: str | os.PathLike[str] | None = None,
    overrides: Sequence[str] | str = (),
    without_likelihood: bool = False,
    force: bool = False,
    style: Style = "none",
) -> Evaluation:
    """Fit held-out frames with trained models and score Q's code, the start of the fit and the fitted code.

    The metrics are those of the specs' `evaluation.metrics`, the same for all models. If `out` already has the scores
    of a model, with the same weights, options and frames, it is not run again.

    Args:
        models: One or several models: model directories, results of `open_model`, or pairs (avatar, spec).
        count: Number of frames, evenly spread over the split; the spec's `evaluation.frames` if None.
        frames: Frames to take instead of a count, such as "0:32" or "EXP_smile/000012,EXP_blink" (see
            `lipflow_core.selection.positions`).
        split: Split of the capture.
        out: Folder for scores, codes, curves and pictures (see `lipflow_core.evaluation.folder`); nothing is written
            if None.
        overrides: Options of the specs' fitting, evaluation, capture, renderer and device, such as "fitting.steps=50".
        without_likelihood: Whether to fit a second time, without the objectives that ask the prior.
        force: Whether to run finished models again.
        style: Style of progress.

    Raises:
        lipflow_core.errors.SpecError: If the models are scored by different metrics or on different views, or an
            override can't be used.
        lipflow_core.errors.ModelError: If a folder holds no model, or an override makes its weights not fit.
        lipflow_core.errors.CaptureError: If a frame is damaged or holds NaN.
        lipflow_core.errors.NumericalError: If no frame of a model could be scored, naming the part that makes NaN.
        lipflow_core.errors.UsageError: If there is no such frame.
        lipflow_core.errors.StorageError: If `out` can't be written, or another process evaluates there.

    Example:
        >>> evaluation = evaluate(["runs/dam", "runs/lip-flow-hmc"], count=32, out="evaluation")
        >>> print(evaluation.table())
    """
    if count is not None and count < 1:
        raise UsageError(f"{count} frames can't be scored", "Give a count of at least 1.")
    if count is not None and frames is not None:
        raise UsageError("both a count and the frames themselves were given", "Give one of them.")
    if out is not None:
        check_folder(out)
    found = candidates(models, [overrides] if isinstance(overrides, str) else list(overrides))
    if not found:
        raise UsageError("no model given", "Name one or more model directories.")
    _check_comparable(found)
    captures: dict[str, Capture] = {}
    runs: dict[str, ModelEvaluation] = {}
    for candidate, name in zip(found, names_of(found, (EVALUATION, SCORES, CLAIM)), strict=True):
        key = json.dumps(candidate.spec.capture.as_data(), sort_keys=True)
        if key not in captures:
            captures[key] = open_capture(candidate.blueprint)
        source = open_split(captures[key], split)
        options = candidate.spec.evaluation
        wanted = options.frames if count is None else count
        if frames is None:
            indices = frames_to_score(source, wanted, whole_segments=options.whole_segments)
        else:
            indices = positions(source.segments, source.numbers, frames)
        runs[name] = ModelEvaluation(candidate, captures[key], source, split, indices, without_likelihood)
    folder = None if out is None else Path(out)
    with contextlib.nullcontext() if folder is None else claimed(folder, "evaluating"):
        if folder is not None:
            remove_temporaries(folder)
        evaluation = Evaluation(
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            versions={"lipflow-core": __version__, "python": platform.python_version(), "torch": torch.__version__},
            split=split,
            view=found[0].blueprint.view,
            models=tuple(_scores(run, name, folder, force, style) for name, run in runs.items()),
        )
        if folder is not None:
            write_evaluation(folder, evaluation)
    return evaluation


def _scores(run: ModelEvaluation, name: str, folder: Path | None, force: bool, style: Style) -> ModelScores:
    """Run one model, or read its scores if the folder has them."""
    done = None if folder is None or force else finished(folder / name, run.identity)
    if done is not None:
        return done
    scores, fits, pictures = run.run(name, style)
    if folder is not None:
        write_model(folder / name, run.candidate, scores, fits, pictures)
    return scores


def _check_comparable(found: Sequence[Candidate]) -> None:
    """Raise a SpecError unless all models are scored by the same metrics on the same view."""
    first = found[0]
    for other in found[1:]:
        views = [candidate.blueprint.view for candidate in (first, other)]
        metrics = [[part.as_data() for part in candidate.spec.evaluation.metrics] for candidate in (first, other)]
        names = [f"'{candidate.path or candidate.spec.name}'" for candidate in (first, other)]
        if views[0] != views[1]:
            raise SpecError(
                f"model {names[0]} is scored on view '{views[0]}', model {names[1]} on '{views[1]}', so that their "
                "scores can't be compared",
                "Choose one view for all with evaluation.view=NAME.",
            )
        if metrics[0] != metrics[1]:
            told = [", ".join(part["type"] for part in listed) for listed in metrics]
            with_options = " with other options" if told[0] == told[1] else ""
            raise SpecError(
                f"model {names[0]} is scored by {told[0]}, model {names[1]} by {told[1]}{with_options}, so that their "
                "scores can't be compared",
                "Choose the metrics for all with 'evaluation.metrics=[NAME, …]'.",
            )
