"""The page: header, table, frames, charts and provenance, put together from the templates."""

from __future__ import annotations

import contextlib
import math
import os
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lipflow_core.errors import LipflowError, StorageError
from lipflow_core.evaluation.calibration import CALIBRATION_HEADINGS
from lipflow_core.evaluation.folder import read_evaluation
from lipflow_core.evaluation.result import CODES, TRAVELLED, Code, Evaluation, ModelScores
from lipflow_core.storage import check_folder, read_file, write_atomically
from lipflow_core.tables import counted
from lipflow_report import charts
from lipflow_report.frame_sections import frame_sections
from lipflow_report.images import heat_gradient

if TYPE_CHECKING:
    from jinja2 import Environment

_NAMED = 4
"""Models that the heading names; more are counted."""
_CODES = {
    "posterior": ("Q's code", "The training-time encoder's, which has seen the tracked surface."),
    "start": ("Before fitting", "The code that fitting starts from, the prior's mode."),
    "fitted": ("After fitting", "The code of the lowest objective."),
    "fitted-without-likelihood": ("After, without likelihood", "Fitted without the objectives that ask the prior."),
}
"""Code → name and meaning."""
_CALIBRATION_COLUMNS = {
    "nll.q_mean": "Q's mean",
    "nll.q_samples": "samples",
    "nll.standardized": "standardised",
    "dimension.0.5": "50 %",
    "dimension.0.9": "90 %",
    "joint.0.5": "50 %",
    "joint.0.9": "90 %",
    "width": "width",
}
"""Columns of the calibration's table → their headings below those of groups."""
_CURVES = (
    ("training", "Training", "Held-out losses solid, training losses dashed; systems weigh the terms differently, so "
     "that objectives compare only within a system. Click a model in the legend to see it alone."),
    ("fitting", "Fitting", "Median over the frames, and of few models the band that holds the middle half of them; a "
     "frame that stopped keeps its last loss. Click a model in the legend to see it alone."),
    ("frames", "Frame by frame", "Each dot is a frame. {side} the dashed line, fitting made it better."),
)  # fmt: skip
"""Name of a chart, its heading, and its caption."""


def write_report(evaluation: str | os.PathLike[str], out: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Write the report of an evaluation as one HTML file that loads nothing from anywhere.

    Args:
        evaluation: Folder that `lipflow_core.evaluate` wrote.
        out: HTML file to write.
        title: Heading of the page; if None, the models' names, or their number if they are many.

    Returns:
        The file.

    Raises:
        lipflow_core.errors.UsageError: If the folder holds no evaluation.
        lipflow_core.errors.ResultError: If a file of the evaluation is damaged.
        lipflow_core.errors.LipflowError: If jinja2, altair or vl-convert-python is not installed.
        lipflow_core.errors.StorageError: If the file can't be written.
    """
    folder, path = Path(evaluation), Path(out)
    check_folder(path.parent if os.path.exists(path) else path)
    if path.is_dir():
        raise StorageError(f"{path}: can't be written: it is a folder", hint="name a file, such as report.html")
    write_atomically(path, render(read_evaluation(folder), folder, title))
    return path


def render(evaluation: Evaluation, folder: Path, title: str | None = None) -> str:
    """Fill the templates; arguments as in `write_report`."""
    environment = _environment()
    specs = _chart_specs(evaluation, folder)
    sections, limit = frame_sections(evaluation, folder)
    asked = [model for model in evaluation.models if model.calibration is not None]
    first = next(iter(evaluation.metrics.values()), None)
    side = "Above" if first is None or first.higher_is_better else "Below"
    return environment.get_template("page.html").render(
        evaluation=evaluation,
        heading=title or _heading(evaluation),
        subtitle=_subtitle(evaluation),
        style=_asset("style.css"),
        scripts=[charts.javascript(), _asset("script.js")],
        specs={name: spec for name, spec in specs.items() if spec},
        groups=_groups(evaluation),
        columns=[*evaluation.metrics.values(), TRAVELLED],
        notes=_notes(evaluation, folder),
        choices=_choices(evaluation),
        definitions=_definitions(evaluation),
        sections=sections,
        limit=f"{limit:g}",
        gradient=heat_gradient(),
        calibrated=[(model.name, [_figure(model, name) for name in _CALIBRATION_COLUMNS]) for model in asked],
        calibration_columns=[_CALIBRATION_COLUMNS[name] for name in CALIBRATION_HEADINGS],
        not_calibrated=[model for model in evaluation.models if model.calibration is None and model.not_calibrated],
        curves=[(name, head, text.format(side=side)) for name, head, text in _CURVES if specs.get(name)],
        provenance=[_provenance(model, folder) for model in evaluation.models],
    )


def _environment() -> Environment:
    try:
        import jinja2
    except ImportError as error:
        raise LipflowError(
            "the report's pages need jinja2, which is not installed",
            hint="pip install '.[report]' in the folder of lipflow-core",
        ) from error
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("lipflow_report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "allow_nan": False}
    return environment


def _heading(evaluation: Evaluation) -> str:
    names = [model.name for model in evaluation.models]
    what = ", ".join(names) if len(names) <= _NAMED else counted(len(names), "model")
    known = evaluation.comparable and names and evaluation.captures != "–"
    return f"Evaluation: {what} on {evaluation.captures}" if known else f"Evaluation: {what}"


def _subtitle(evaluation: Evaluation) -> str:
    frames = len(evaluation.models[0].frames) if evaluation.models else 0
    made = evaluation.created.replace("T", " ").removesuffix("+00:00")
    versions = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())
    return (
        f"{counted(frames, f'{evaluation.split} frame')}, pictures compared in the {evaluation.view} view. "
        f"Evaluated {made} UTC with {versions}."
    )


@dataclass(frozen=True)
class _Cell:
    """A figure of the table, what stands small beside it, and whether it is among the best."""

    text: str
    beside: str = ""
    best: bool = False


def _groups(evaluation: Evaluation) -> list[tuple[str, list[tuple[str, list[_Cell]]]]]:
    """Make a group of rows for each kind of code, with a row for each model."""
    groups = []
    for code, (label, _) in _CODES.items():
        models = [model for model in evaluation.models if code in model.scores]
        if models:
            groups.append((label, [(model.name, _cells(evaluation, model, code)) for model in models]))
    return groups


def _cells(evaluation: Evaluation, model: ModelScores, code: Code) -> list[_Cell]:
    cells = []
    for metric, column in evaluation.metrics.items():
        best, difference = evaluation.is_best(model, code, metric), evaluation.to_best(model, code, metric)
        beside = ""
        if difference is not None and math.isfinite(difference.error):
            beside = f" ± {column.text(difference.half_width)}"
        elif best and difference is None:
            beside = " best"
        cells.append(_Cell(column.text(model.mean(code, metric)), beside, best))
    return [*cells, _Cell(TRAVELLED.text(model.travelled(code)))]


def _notes(evaluation: Evaluation, folder: Path) -> list[str]:
    """List problems, except the warning that models are not comparable."""
    notes = []
    for model in evaluation.models:
        for row in charts.read_metrics(folder / model.folder):
            if row.get("kind") == "warning" and isinstance(row.get("text"), str):
                notes.append(f"{model.name}, training, by step {row['step']}: {row['text']}.")
        notes += [f"{note}." for note in model.notes()]
        if left_out := charts.never_finite(folder / model.folder):
            notes.append(
                f"{model.name}: the loss of {counted(left_out, 'frame')} was never finite; the fitting curves leave "
                "them out."
            )
    return notes


def _choices(evaluation: Evaluation) -> dict[str, Any] | None:
    """List the grid search's choice for each fit; None if nothing was searched."""
    rows = [
        (f"{model.name}, {CODES[code]}", choice) for model in evaluation.models for code, choice in model.grid.items()
    ]
    edges = sum(bool(choice.at_edge) for _, choice in rows)
    return {"rows": rows, "edges": edges} if rows else None


def _definitions(evaluation: Evaluation) -> list[tuple[str, str]]:
    """Term and meaning of each kind of code, each metric and each other figure."""
    codes = {code for model in evaluation.models for code in model.scores}
    metrics = [
        (f"{column.heading}, {column.unit}" if column.unit not in ("", column.heading) else column.heading, column)
        for column in evaluation.metrics.values()
    ]
    return [
        *(meant for code, meant in _CODES.items() if code in codes),
        *((term, column.definition) for term, column in metrics),
        *evaluation.definitions.items(),
    ]


def _figure(model: ModelScores, name: str) -> str:
    value = model.calibration.figure(name)
    return f"{value:.2f}" if math.isfinite(value) else "–"


def _chart_specs(evaluation: Evaluation, folder: Path) -> dict[str, dict[str, Any] | None]:
    charts.check_installed()
    metrics = {model.name: charts.read_metrics(folder / model.folder) for model in evaluation.models}
    return {
        "training": charts.training_chart(metrics),
        "fitting": charts.fitting_chart(evaluation, folder),
        "frames": charts.frames_chart(evaluation),
        "calibration": charts.calibration_chart(evaluation),
    }


def _provenance(model: ModelScores, folder: Path) -> dict[str, Any]:
    where = model.provenance
    facts = {
        "System": f"{model.system}, preset {model.preset}, seed {model.seed}",
        "Parts": _parts(model),
        "Changed for evaluation": "; ".join(model.overrides) or "–",
        "Model": model.model or "given as an avatar",
        "Parameters": f"{where.parameters:,}",
        "Capture": " ".join(filter(None, (where.capture_name, where.capture))) or "–",
        "Device": f"{where.device or '–'}, {counted(where.threads, 'thread')}",
        "Fitting took": (
            f"{model.seconds:.1f} s for {counted(len(model.frames), 'frame')}" if math.isfinite(model.seconds) else "–"
        ),
        "Identity": model.identity,
    }
    texts = []
    for name, label in (("spec.yaml", "Resolved spec"), ("lock.json", "Lock: versions and hashes")):
        with contextlib.suppress(OSError):  # missing, or a link
            content = read_file(folder / model.folder / name, links=False)
            texts.append((label, content.decode("utf-8", "replace")))
    return {"name": model.name, "facts": facts, "texts": texts}


def _parts(model: ModelScores) -> str:
    fitting = f" (fitting: {model.fitting_prior})" if model.fitting_prior not in ("", model.prior) else ""
    told = {"prior": f"{model.prior}{fitting}", "driving encoder": model.driving, "flow": model.flow}
    return ", ".join(f"{name} {value}" for name, value in told.items() if value) or "–"


def _asset(name: str) -> str:
    return files("lipflow_report").joinpath(name).read_text(encoding="utf-8")
