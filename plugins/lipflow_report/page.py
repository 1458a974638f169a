"""The page: header, table, frames, charts and provenance, put together."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from lipflow_core.errors import StorageError
from lipflow_core.evaluation.calibration import CALIBRATION_HEADINGS
from lipflow_core.evaluation.folder import read_evaluation
from lipflow_core.evaluation.result import CODES, DIGITS, HEADINGS, Evaluation, ModelScores
from lipflow_core.fitting.grid import GridChoice
from lipflow_core.storage import check_folder, write_atomically
from lipflow_core.tables import counted
from lipflow_report import charts
from lipflow_report.frames import frame_sections
from lipflow_report.markup import Markup, join, tag

_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'; script-src 'unsafe-inline' 'unsafe-eval'"
"""Browsers are told to fetch nothing at all; Vega compiles its expressions, hence the last word."""
_NAMED = 4
"""Models that the heading names; more are counted."""


def write_report(evaluation: str | os.PathLike[str], out: str | os.PathLike[str], *, title: str | None = None) -> Path:
    """Write the report of an evaluation as one HTML file that loads nothing from anywhere.

    Args:
        evaluation: Folder that `lipflow_core.evaluate` wrote.
        out: The HTML file.
        title: Its heading; the models' names, or their number if they are many, if None.

    Returns:
        The file.

    Raises:
        lipflow_core.errors.LipflowError: If the folder holds no evaluation, or altair is not installed.
        lipflow_core.errors.StorageError: If the file can't be written.
    """
    folder, path = Path(evaluation), Path(out)
    check_folder(path.parent)
    if path.is_dir():
        raise StorageError(f"{path}: can't be written: it is a folder", hint="name a file, such as report.html")
    write_atomically(path, render(read_evaluation(folder), folder, title))
    return path


def render(evaluation: Evaluation, folder: Path, title: str | None = None) -> str:
    """The page as text; arguments as in `write_report`."""
    heading = title or _heading(evaluation)
    specs = _chart_specs(evaluation, folder)
    pictures = frame_sections(evaluation, folder)
    sections = [
        ("scores", "Scores", [_table(evaluation), _notes(evaluation, folder), _definitions(evaluation)]),
        ("frames", "Frames", pictures),
        ("calibration", "Calibration of the priors", _calibration(evaluation)),
        ("curves", "Curves", [_chart(name, *shown) for name, *shown in _CAPTIONS if specs.get(name)]),
        ("provenance", "Provenance", [_provenance(model, folder) for model in evaluation.models]),
    ]
    shown = [(anchor, name, content) for anchor, name, content in sections if content]
    body = [
        tag("header", tag("h1", heading), tag("p", _subtitle(evaluation), class_="soft"), _navigation(shown)),
        [tag("section", tag("h2", name, id=anchor), content) for anchor, name, content in shown],
        [_embedded(f"spec-{name}", spec) for name, spec in specs.items() if spec],
        _script(charts.javascript()),
        _script(_asset("script.js")),
    ]
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        tag("title", heading),
        tag("style", Markup(_asset("style.css"))),
    ]
    return f"<!doctype html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


def _heading(evaluation: Evaluation) -> str:
    names = [model.name for model in evaluation.models]
    what = ", ".join(names) if len(names) <= _NAMED else counted(len(names), "model")
    known = evaluation.comparable and names and evaluation.captures != "–"
    return f"Fitted faces: {what} on {evaluation.captures}" if known else f"Fitted faces: {what}"


def _subtitle(evaluation: Evaluation) -> str:
    frames = len(evaluation.models[0].frames) if evaluation.models else 0
    made = evaluation.created.replace("T", " ").removesuffix("+00:00")
    versions = ", ".join(f"{name} {version}" for name, version in evaluation.versions.items())
    return (
        f"{frames} {evaluation.split} frames, pictures compared in the {evaluation.view} view. "
        f"Evaluated {made} UTC with {versions}."
    )


def _navigation(sections: list[tuple[str, str, Any]]) -> Markup:
    return tag("nav", [tag("a", name, href=f"#{anchor}") for anchor, name, _ in sections])


def _table(evaluation: Evaluation) -> Markup:
    """A group of rows for each kind of code, a row for each model, in bold the best and what may be as good."""
    rows: list[Markup] = []
    for code, label in CODES.items():
        models = [model for model in evaluation.models if code in model.scores]
        if models:
            rows.append(tag("tr", tag("th", label[0].upper() + label[1:], colspan=1 + len(HEADINGS), scope="rowgroup")))
            rows += [tag("tr", tag("td", model.name), _cells(evaluation, model, code)) for model in models]
    head = tag("tr", tag("th", "Model"), [tag("th", heading, scope="col") for heading in HEADINGS.values()])
    return tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll")


def _cells(evaluation: Evaluation, model: ModelScores, code: str) -> list[Markup]:
    cells = []
    for metric, digits in DIGITS.items():
        value = math.nan if metric == "distance" and code not in model.distance else model.mean(code, metric)
        best = evaluation.is_best(model, code, metric)
        difference = evaluation.to_best(model, code, metric)
        error = None
        if difference is not None and math.isfinite(difference.error):
            error = tag("span", f" ± {difference.error:.{digits}f}", class_="error")
        elif best and difference is None:
            error = tag("span", " best", class_="error")
        cells.append(tag("td", _number(value, digits), error, class_="best" if best else None))
    return cells


def _notes(evaluation: Evaluation, folder: Path) -> list[Markup]:
    notes = []
    if warning := evaluation.warning():
        notes.append(tag("p", tag("b", f"{warning[0].upper()}{warning[1:]}.")))
    for model in evaluation.models:
        for row in charts.read_metrics(folder / model.folder):
            if row.get("kind") == "warning" and isinstance(row.get("text"), str):
                notes.append(tag("p", f"{model.name}, training, by step {row['step']}: {row['text']}."))
        for code, count in model.nonfinite.items():
            if count:
                said = counted(count, "frame")
                text = f"{model.name}, {CODES[code]}: {said} stopped early because their loss was not finite."
                notes.append(tag("p", text))
        if left_out := charts.never_finite(folder / model.folder):
            text = f"{model.name}: the loss of {left_out} frames was never finite; the fitting curves leave them out."
            notes.append(tag("p", text))
    return [*(tag("div", note, class_="note small") for note in notes), _choices(evaluation)]


def _choices(evaluation: Evaluation) -> Markup | None:
    """What the grid search chose for each fit, those at an edge in bold; None if nothing was searched."""
    rows, edges = [], 0
    for model in evaluation.models:
        for code, data in model.grid.items():
            choice = GridChoice.from_data(data)
            edges += bool(choice.at_edge)
            cells = [
                tag("td", tag("b", f"{value:g}") if name in choice.at_edge else "–" if value is None else f"{value:g}")
                for name, value in (
                    ("learning_rate", choice.learning_rate),
                    ("latent_weight", choice.latent_weight),
                )
            ]
            warning = choice.warning()
            cells.append(tag("td", warning or "", class_="left"))
            rows.append(tag("tr", tag("td", f"{model.name}, {CODES[code]}"), cells))
    if not rows:
        return None
    heads = ("Fit", "Learning rate", "Latent weight", "")
    table = tag("table", tag("thead", tag("tr", [tag("th", head) for head in heads])), tag("tbody", rows))
    edge = f"; {edges} at an edge of the grid, so that better ones may lie beyond" if edges else ""
    summary = tag("summary", f"Learning rates and latent weights, chosen on a first batch of frames{edge}")
    return tag("details", summary, tag("div", table, class_="scroll small"))


def _definitions(evaluation: Evaluation) -> Markup:
    codes = {code for model in evaluation.models for code in model.scores}
    what = {
        "posterior": "Q's code: the training-time encoder's, which has seen the tracked mesh and the dome's texture.",
        "start": "Before fitting: the code that fitting starts from, the prior's mode.",
        "fitted": "After fitting: the code of the lowest objective.",
        "fitted-without-likelihood": "After, without likelihood: fitted without the objectives that ask the prior.",
    }
    lines = [text for code, text in what.items() if code in codes] + list(evaluation.definitions.values())
    pairs = [line.partition(": ")[::2] for line in lines]
    terms = [[tag("dt", name), tag("dd", text[0].upper() + text[1:])] for name, text in pairs]
    several = len(evaluation.models) > 1 and evaluation.comparable
    many = (
        " ± is the standard error of a model's difference to the best of its group, paired over the frames. In bold: "
        "the best, and all that are within two such errors of it. Frames of one subject and one training run say "
        "nothing of others."
    )
    intro = tag("p", f"Every number is the mean over the frames.{many if several else ''}", class_="soft small")
    return join([intro, tag("details", tag("summary", "What the numbers mean"), tag("dl", terms, class_="small"))])


def _calibration(evaluation: Evaluation) -> list[Markup]:
    """The table of calibration, why models are not in it, and the chart; empty if there is nothing to say."""
    asked = [model for model in evaluation.models if model.calibration is not None]
    left_out = [
        tag("p", f"{model.name}: {model.not_calibrated}.", class_="note small")
        for model in evaluation.models
        if model.calibration is None and model.not_calibrated
    ]
    if not asked:
        return left_out
    # Headings over several columns, so that the table is no wider than the page.
    groups = [
        ("", 1),
        ("NLL, nats per dimension", 3),
        ("inside, each dimension", 2),
        ("inside, whole code", 2),
        ("", 1),
    ]
    head = [
        tag("tr", [tag("th", text, colspan=span, scope="colgroup", class_="group") for text, span in groups]),
        tag("tr", tag("th", "Prior of"), [tag("th", _COLUMN[name], scope="col") for name in CALIBRATION_HEADINGS]),
    ]
    rows = [
        tag(
            "tr",
            tag("td", model.name),
            [tag("td", _number(model.calibration.figure(name), 2)) for name in CALIBRATION_HEADINGS],
        )
        for model in asked
    ]
    table = tag("div", tag("table", tag("thead", head), tag("tbody", rows)), class_="scroll")
    caption = (
        "Q's codes of these frames under the prior that fits. Under “50 %”, the share of Q's samples in regions which "
        "should hold half of them. NLL compares between models when standardised by the spread of the codes; 1.42 is "
        "then what mean and spread alone would give. "
        "A line below the diagonal is a prior too sure of itself, above it one too wide. The band holds 95 % of "
        "priors that are right, were the frames independent; frames of one sequence are not."
    )
    return [table, *left_out, tag("p", caption, class_="soft small"), _place("calibration")]


_COLUMN = {
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

_CAPTIONS = (
    ("training", "Training", "Held-out losses solid, training losses dashed; systems weigh the terms differently, so "
     "that objectives compare only within a system. Click a model in the legend to see it alone."),
    ("fitting", "Fitting", "Median over the frames, and of few models the band that holds the middle half of them; a "
     "frame that stopped keeps its last loss. Click a model in the legend to see it alone."),
    ("frames", "Frame by frame", "Each dot is a frame. Above the dashed line, fitting made it better."),
)  # fmt: skip


def _chart_specs(evaluation: Evaluation, folder: Path) -> dict[str, dict[str, Any] | None]:
    charts.javascript()
    metrics = {model.name: charts.read_metrics(folder / model.folder) for model in evaluation.models}
    return {
        "training": charts.training_chart(metrics),
        "fitting": charts.fitting_chart(evaluation, folder),
        "frames": charts.frames_chart(evaluation),
        "calibration": charts.calibration_chart(evaluation),
    }


def _chart(name: str, title: str, caption: str) -> Markup:
    return join([tag("h3", title), tag("p", caption, class_="soft small"), _place(name)])


def _place(chart: str) -> Markup:
    """Where the script draws a chart."""
    return tag("div", class_="chart", data_spec=f"spec-{chart}")


def _provenance(model: ModelScores, folder: Path) -> Markup:
    provenance = model.provenance
    facts = {
        "System": f"{model.system}, preset {model.preset}",
        "Model": model.model,
        "Parameters": f"{provenance.get('parameters', 0):,}",
        "Capture": " ".join(str(provenance[key]) for key in ("capture_name", "capture") if key in provenance) or "–",
        "Device": f"{provenance.get('device', '–')}, {provenance.get('threads', '–')} threads",
        "Fitting took": f"{model.seconds:.1f} s for {len(model.frames)} frames",
        "Identity": model.identity,
    }
    listed = [[tag("dt", name), tag("dd", value)] for name, value in facts.items()]
    texts = []
    for name, label in (("spec.yaml", "Resolved spec"), ("lock.json", "Lock: versions and hashes")):
        file = folder / model.folder / name
        if file.is_file():
            text = file.read_text(encoding="utf-8", errors="replace")
            texts.append(tag("details", tag("summary", label), tag("pre", text)))
    return join([tag("h3", model.name), tag("dl", listed, class_="small"), texts])


def _embedded(name: str, spec: Mapping[str, Any]) -> Markup:
    """Data in the page; "<" is escaped, so that no string in it can end the element."""
    text = json.dumps(spec, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")
    return tag("script", Markup(text), type="application/json", id=name)


def _script(text: str) -> Markup:
    return tag("script", Markup(text.replace("</script", "<\\/script")))


def _asset(name: str) -> str:
    return files("lipflow_report").joinpath(name).read_text(encoding="utf-8")


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}" if math.isfinite(value) else "–"
