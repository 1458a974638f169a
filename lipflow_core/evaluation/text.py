"""Prints evaluations as plain text: tables, notes on single frames, and CSV."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lipflow_core.evaluation.calibration import CALIBRATION_HEADINGS
from lipflow_core.tables import counted, table

if TYPE_CHECKING:
    from lipflow_core.evaluation.result import Column, Evaluation, ModelScores


def score_table(evaluation: Evaluation, codes: Mapping[str, str], travelled: Column) -> str:
    """Print a row for each model and code; see `Evaluation.table`.

    Args:
        evaluation: Scores of the models.
        codes: Kind of code → its name in tables.
        travelled: Column of the distance that fitted codes travelled.
    """
    rows: list[list[str]] = []
    rules: list[int] = []
    above: ModelScores | None = None
    for model, code in evaluation.rows():
        if model is not above:
            rules.append(len(rows))
        cells = ["" if model is above else model.name, codes[code]]
        above = model
        for metric, column in evaluation.metrics.items():
            text = column.text(model.mean(code, metric))
            mark = "*" if evaluation.is_best(model, code, metric) else " " if evaluation.competing else ""
            cells.append(text + mark)
        cells.append(travelled.text(model.travelled(code)) + (" " if evaluation.competing else ""))
        rows.append(cells)
    below = [f"warning: {evaluation.warning()}"] if evaluation.warning() else []
    if evaluation.competing:
        below = [
            "* among the same kind of code the best of the models, and those that are not shown to be worse: the 95 %",
            "  interval of the difference (paired by frame, clustered by sequence) holds 0",
            *evaluation.cautions(),
        ]
    heads = ["model", "decoded", *(column.title for column in evaluation.metrics.values()), travelled.title]
    return "\n".join([table(heads, rows, left=2, rules=rules), *below])


def cautions(evaluation: Evaluation, codes: Mapping[str, str]) -> Iterator[str]:
    """Say what the number of sequences forbids to conclude, a line for each; see `Evaluation.cautions`."""
    compared = evaluation.differences
    unknown = {(one.code, one.metric): one.caution for one in compared if not math.isfinite(one.error)}
    if unknown:
        columns = evaluation.metrics
        every = unknown.keys() == {(one.code, one.metric) for one in compared}
        where = ", ".join(f"{columns[metric].heading} {codes[code]}" for code, metric in unknown)
        yield f"no asterisk {'anywhere' if every else f'for {where}'}: {next(iter(unknown.values()))}"
    few = [one for one in compared if math.isfinite(one.error) and one.caution]
    if few:
        yield f"wide intervals: {min(few, key=lambda one: one.sequences).caution}"


def calibration_table(evaluation: Evaluation) -> str:
    """Print the calibration of each model's prior; see `Evaluation.calibration_table`."""
    rows, below = [], []
    for model in evaluation.models:
        if model.calibration is not None:
            figures = [model.calibration.figure(name) for name in CALIBRATION_HEADINGS]
            rows.append([model.name, *(f"{value:.2f}" if math.isfinite(value) else "–" for value in figures)])
        elif model.not_calibrated:
            below.append(f"{model.name}: {model.not_calibrated}")
    if rows:
        below.append("NLL in nats per dimension; 50 %: the share of Q's samples in regions that should hold 50 %")
        rows = [table(["prior of", *CALIBRATION_HEADINGS.values()], rows, left=1)]
    return "\n".join([*rows, *below])


def notes(model: ModelScores, codes: Mapping[str, str]) -> Iterator[str]:
    """Yield a line for each problem with fits and single frames; see `ModelScores.notes`."""
    if model.not_fitted_without is not None:
        yield f"{model.name}: no fit without likelihood, since {model.not_fitted_without}"
    for code, count in model.nonfinite.items():
        if count:
            told = counted(count, "frame")
            yield f"{model.name}, {codes[code]}: {told} stopped early because the loss was not finite"
    for code, count in model.unseen.items():
        if count:
            told = counted(count, "frame")
            yield f"{model.name}, {codes[code]}: {told} showed nothing to fit to, as with an empty mask"
    failed = {code: {(one.segment, one.number) for one in found} for code, found in model.failures.items()}
    for code, found in model.failures.items():
        if found:
            first = found[0]
            yield (
                f"{model.name}, {codes[code]}: {counted(len(found), 'frame')} could not be scored because the model "
                f"made NaN or infinity (the first is {first.segment}/{first.number:06d}: {first.part})"
            )
    for metric, column in model.metrics.items():
        values = {code: columns[metric] for code, columns in model.scores.items()}
        # A kind of code may have no value at all, as Q's has no pose; then the others tell.
        values = {code: found for code, found in values.items() if any(map(math.isfinite, found))} or values
        without = [
            frame
            for position, frame in enumerate(model.frames)
            if any(
                not math.isfinite(found[position]) and frame not in failed.get(code, ())
                for code, found in values.items()
            )
        ]
        if without:
            segment, number = without[0]
            yield (
                f"{model.name}: {counted(len(without), 'frame')} left out of {column.heading}, which has no finite "
                f"value there, as where a mask is empty or a frame beside it is not scored "
                f"(the first is {segment}/{number:06d})"
            )


def long_csv(evaluation: Evaluation, options: Sequence[str]) -> str:
    """Write all values as CSV in long form: a row for each model, frame, code and metric.

    Further rows have the "distance" and "steps" of fitted codes, and the "nll" of the calibration. Values that are not
    finite are left empty.

    Args:
        evaluation: Scores of the models.
        options: Fields of the models that become columns.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["model", *options, "capture", "segment", "frame", "code", "metric", "unit", "value"])
    for model in evaluation.models:
        told = [_cell(getattr(model, name)) for name in options]
        for code, metric, unit, values in _columns(model):
            for (segment, number), value in zip(model.frames, values, strict=True):
                shown = value if math.isfinite(value) else ""
                writer.writerow([model.name, *told, model.capture, segment, number, code, metric, unit, shown])
    return text.getvalue()


def _columns(model: ModelScores) -> Iterator[tuple[str, str, str, Sequence[float]]]:
    for code, columns in model.scores.items():
        for metric, values in columns.items():
            yield code, metric, model.metrics[metric].unit, values
        if code in model.distance:
            yield code, "distance", "", model.distance[code]
        if code in model.steps:
            yield code, "steps", "", model.steps[code]
    if model.calibration is not None:
        for code, values in model.calibration.nll.items():
            yield code, "nll", "nats per dimension", values


def _cell(value: object) -> object:
    return "; ".join(map(str, value)) if isinstance(value, tuple) else "" if value is None else value
