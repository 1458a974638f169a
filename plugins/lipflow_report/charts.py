"""Charts of a report, as Vega-Lite by Altair, and the JavaScript that draws them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file

from lipflow_core.errors import LipflowError
from lipflow_core.evaluation.folder import FITS
from lipflow_core.evaluation.result import CODES, Evaluation
from lipflow_core.selection import spread
from lipflow_core.storage import check_regular, read_file

_POINTS = 300
"""Points of a curve that are kept: more can't be seen."""
_OVERLAID = 7
"""Models that are told apart in one panel; more have a panel each."""
_FADED = 0.08
"""Opacity of the models that are not the one picked in the legend."""
_COLUMNS, _SIDE, _SMALL = 5, 380, 155
"""Panels in a row, and the side in pixels of a square panel on its own and of one among many."""


def check_installed() -> None:
    """Raise a LipflowError with its cure if altair or vl-convert-python is not installed."""
    try:
        import altair  # noqa: F401
        import vl_convert  # noqa: F401
    except ImportError as error:
        raise LipflowError(
            f"the report's charts need {error.name}, which is not installed",
            hint="pip install '.[report]' in the folder of lipflow-core",
        ) from error


def javascript() -> str:
    """Bundle Vega, Vega-Lite and vega-embed into one script that defines `window.vegaEmbed`."""
    import vl_convert

    return vl_convert.javascript_bundle()


def training_chart(metrics: Mapping[str, Sequence[Mapping[str, Any]]]) -> dict[str, Any] | None:
    """Draw losses over the steps of training, one panel for the objective and one for each of its terms.

    Args:
        metrics: Model → rows of its `metrics.jsonl`.
    """
    import altair as alt

    # A term is what has a weight.
    weighted = dict.fromkeys(
        name.removeprefix("weight_")
        for rows in metrics.values()
        for row in rows
        for name in row
        if name.startswith("weight_")
    )
    points = []
    for model, rows in metrics.items():
        for term in ("loss", *weighted):
            for kind, label in (("train", "training"), ("held-out", "held-out")):
                curve = [
                    (row["step"], row[term])
                    for row in rows
                    if row.get("kind") == kind and isinstance(row.get(term), int | float) and math.isfinite(row[term])
                ]
                points += [
                    {"model": model, "term": term, "frames": label, "step": step, "value": value}
                    for step, value in thinned(curve)
                ]
    if not points:
        return None
    picked = _picked_in_legend()
    panels = []
    for term in dict.fromkeys(point["term"] for point in points):
        here = [point for point in points if point["term"] == term]
        values = [point["value"] for point in here]
        scale = _scale(min(values), max(values))
        title = "Objective" if term == "loss" else f"{term.capitalize()}, unweighted"
        panel = (
            alt.Chart(alt.Data(values=here), title=title)
            .mark_line(interpolate="linear")
            .encode(
                x=alt.X("step:Q", title="step"),
                y=alt.Y("value:Q", title=None, scale=scale),
                color=alt.Color("model:N", title="model", sort=list(metrics)),
                strokeDash=alt.StrokeDash("frames:N", title="frames", sort=["held-out", "training"]),
                # Training losses are of one batch or a few, and noisy: they may not hide the others.
                opacity=alt.when(~picked)
                .then(alt.value(_FADED))
                .when(alt.datum.frames == "training")
                .then(alt.value(0.45))
                .otherwise(alt.value(1)),
                tooltip=["model:N", "frames:N", "step:Q", alt.Tooltip("value:Q", format=".4g")],
            )
            .properties(width=380, height=220)
        )
        panels.append(panel if panels else panel.add_params(picked))
    return alt.concat(*panels, columns=2).to_dict()


def fitting_chart(evaluation: Evaluation, folder: Path) -> dict[str, Any] | None:
    """Draw losses over the steps of fitting, a panel for each objective: median and middle half of the frames.

    Of many models there is no band.
    """
    import altair as alt

    points: list[dict[str, Any]] = []
    for model in evaluation.models:
        for name, curve in fitting_curves(folder / model.folder).items():
            variant, _, objective = name.partition(".curves.")
            curve = curve[_drawn(curve)]
            if not len(curve):
                continue
            low, middle, high = np.quantile(curve, (0.25, 0.5, 0.75), axis=0)
            for step, value in thinned(list(enumerate(middle.tolist()))):
                points.append(
                    {
                        "model": model.name,
                        "fit": CODES.get(variant, variant).replace("after fitting", "as specified"),
                        "objective": objective,
                        "step": step,
                        "value": value,
                        "low": float(low[step]),
                        "high": float(high[step]),
                    }
                )
    if not points:
        return None
    fits = sorted({p["fit"] for p in points}, key=lambda fit: fit != "as specified")
    picked = _picked_in_legend()
    banded = len({p["model"] for p in points}) <= _OVERLAID
    panels = []
    for objective in dict.fromkeys(p["objective"] for p in points):
        here = [p for p in points if p["objective"] == objective]
        scale = _scale(min(p["low"] for p in here), max(p["high"] for p in here))
        title = "Total, weighted" if objective == "total" else objective
        base = alt.Chart(alt.Data(values=here), title=title).encode(
            x=alt.X("step:Q", title="step"),
            color=alt.Color(
                "model:N",
                title="model",
                sort=[model.name for model in evaluation.models],
                legend=alt.Legend(symbolOpacity=1, symbolType="stroke", symbolStrokeWidth=2),
            ),
        )
        # One band a model: those of two fits of a model would hide each other, as those of many models would.
        band = base.transform_filter(alt.datum.fit == fits[0]).mark_area()
        band = band.encode(
            y=alt.Y("low:Q", title=None, scale=scale),
            y2="high:Q",
            opacity=alt.when(picked).then(alt.value(0.15)).otherwise(alt.value(_FADED / 4)),
        )
        line = base.mark_line().encode(
            y=alt.Y("value:Q", title=None, scale=scale),
            strokeDash=alt.StrokeDash("fit:N", title="fit", sort=fits),
            opacity=alt.when(picked).then(alt.value(1)).otherwise(alt.value(_FADED)),
            tooltip=["model:N", "fit:N", "step:Q", alt.Tooltip("value:Q", format=".4g", title="median")],
        )
        line = line if panels else line.add_params(picked)
        panels.append((band + line if banded else line).properties(width=380, height=220))
    return alt.concat(*panels, columns=2).to_dict()


def frames_chart(evaluation: Evaluation) -> dict[str, Any] | None:
    """Draw the first metric of each frame before and after fitting; on one side of the diagonal fitting helped."""
    import altair as alt

    metric, column = next(iter(evaluation.metrics.items()), (None, None))
    points = [
        {"model": model.name, "frame": f"{segment}/{number:06d}", "before": before, "after": after}
        for model in evaluation.models
        if {"start", "fitted"} <= model.scores.keys() and metric is not None
        for (segment, number), before, after in zip(
            model.frames, model.scores["start"][metric], model.scores["fitted"][metric], strict=True
        )
        if math.isfinite(before) and math.isfinite(after)
    ]
    if not points:
        return None
    values = [point[side] for point in points for side in ("before", "after")]
    domain = _rounded(min(values), max(values))
    scale = alt.Scale(domain=domain, nice=False, zero=False)
    unit = f", {column.unit}" if column.unit else ""
    x = alt.X("before:Q", title=f"{column.heading} before fitting{unit}", scale=scale)
    y = alt.Y("after:Q", title=f"{column.heading} after fitting{unit}", scale=scale)
    diagonal = (
        alt.Chart(alt.Data(values=[{"before": end, "after": end} for end in domain]))
        .mark_line(strokeDash=[4, 4], color="#888888", strokeWidth=1)
        .encode(x=x, y=y)
    )
    sides = [alt.Tooltip(f"{side}:Q", format=f".{column.digits}f") for side in ("before", "after")]
    tooltip = ["model:N", "frame:N", *sides]
    names = list(dict.fromkeys(point["model"] for point in points))
    if len(names) <= _OVERLAID:
        color = alt.Color("model:N", title="model", sort=[model.name for model in evaluation.models])
        dots = alt.Chart(alt.Data(values=points)).mark_circle(size=50, opacity=0.75)
        return _square(diagonal + dots.encode(x=x, y=y, color=color, tooltip=tooltip), _SIDE).to_dict()
    x, y = x.title(f"before{unit}"), y.title(f"after{unit}")
    panels = []
    for name in names:
        here = alt.Data(values=[point for point in points if point["model"] == name])
        dots = alt.Chart(here, title=name).mark_circle(size=30, opacity=0.75).encode(x=x, y=y, tooltip=tooltip)
        panels.append(_square(diagonal.encode(x=x, y=y) + dots, _SMALL))
    return alt.concat(*panels, columns=_COLUMNS).to_dict()


def calibration_chart(evaluation: Evaluation) -> dict[str, Any] | None:
    """Draw coverage over the nominal level of credible regions; None if no model has any.

    One panel a kind of region, or one a model where they are many. The band is what 95 % of priors that are right would
    cover, were the frames independent.
    """
    import altair as alt

    asked = [model for model in evaluation.models if model.calibration is not None]
    if not asked:
        return None
    scale = alt.Scale(domain=[0, 1], nice=False)
    x = alt.X("level:Q", title="nominal level", scale=scale, axis=alt.Axis(format="%"))
    y = alt.Y("covered:Q", title="Q's samples inside", scale=scale, axis=alt.Axis(format="%"))
    frames = min(len(model.frames) for model in asked)
    band = [
        {"level": level, "covered": max(0.0, level - error), "upper": min(1.0, level + error)}
        for level in (0.0, *asked[0].calibration.levels, 1.0)
        for error in [1.96 * math.sqrt(level * (1 - level) / frames)]
    ]
    expected = alt.Chart(alt.Data(values=band)).mark_area(color="#888888", opacity=0.15).encode(x=x, y=y, y2="upper:Q")
    diagonal = alt.Chart(alt.Data(values=[{"level": end, "covered": end} for end in (0, 1)]))
    diagonal = diagonal.mark_line(strokeDash=[4, 4], color="#888888", strokeWidth=1).encode(x=x, y=y)
    kinds = {"dimension": "Central intervals in each dimension", "joint": "Highest-density regions of the whole code"}
    points = [
        {"model": model.name, "region": title, "level": level, "covered": covered}
        for kind, title in kinds.items()
        for model in asked
        for level, covered in [
            (0.0, 0.0), *zip(model.calibration.levels, model.calibration.coverage[kind], strict=True), (1.0, 1.0)
        ]
    ]  # fmt: skip
    many = len(asked) > _OVERLAID
    per, other = ("model", "region") if many else ("region", "model")
    order = list(kinds.values()) if many else [model.name for model in evaluation.models]
    color = alt.Color(f"{other}:N", title=other, sort=order)
    if many:
        x, y = x.title(None), y.title(None)
        color = color.legend(alt.Legend(orient="top", title=None, labelLimit=400, columns=2))
    tooltip = ["model:N", "region:N", alt.Tooltip("level:Q", format=".0%"), alt.Tooltip("covered:Q", format=".1%")]
    panels = []
    for name in dict.fromkeys(point[per] for point in points):
        here = alt.Data(values=[point for point in points if point[per] == name])
        lines = alt.Chart(here, title=name).mark_line(point=alt.OverlayMarkDef(size=8 if many else 18))
        lines = lines.encode(x=x, y=y, color=color, tooltip=tooltip)
        panels.append(_square(expected.encode(x=x) + diagonal + lines, _SMALL if many else _SIDE))
    return alt.concat(*panels, columns=_COLUMNS if many else 2).to_dict()


def _picked_in_legend() -> Any:
    """Select the models whose names are clicked in the legend; all, before. Add it to one panel, for all."""
    import altair as alt

    return alt.selection_point(fields=["model"], bind="legend", name="picked")


def _square(chart: Any, side: int) -> Any:
    return chart.properties(width=side, height=side)


def _scale(low: float, high: float) -> Any:
    """Make a scale with a margin at both ends; logarithmic if values span decades: within one its ticks read badly."""
    import altair as alt

    if low > 0 and high > 10 * low:
        margin = (high / low) ** 0.03
        return alt.Scale(type="log", domain=[low / margin, high * margin], zero=False, nice=False)
    margin = 0.03 * (high - low) or 0.03 * abs(high) or 1.0
    return alt.Scale(type="linear", domain=[low - margin, high + margin], zero=False, nice=False)


def _rounded(low: float, high: float) -> list[float]:
    """Round a domain outwards to one digit of its width."""
    step = 10.0 ** math.floor(math.log10((high - low) / 2)) if high > low else abs(high) or 1.0
    return [step * math.floor(low / step), step * math.ceil(high / step)]


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Read the rows of a model's `metrics.jsonl`; a line cut short or damaged, or a missing file, is no error."""
    rows = []
    try:
        lines = read_file(folder / "metrics.jsonl").decode("utf-8", "replace").splitlines()
    except OSError:
        return []
    for line in lines:
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("step"), int):
            rows.append(row)
    return rows


def fitting_curves(folder: Path) -> dict[str, np.ndarray]:
    """Read the curves of `fits.safetensors`, "VARIANT.curves.OBJECTIVE" → (B, S+1); none if it can't be read.

    A row that stopped stays at the loss that it stopped with; one that was never finite is NaN to its end.
    """
    try:
        check_regular(folder / FITS)
        tensors = load_file(folder / FITS)
    except (SafetensorError, OSError):
        return {}
    curves = {}
    for name, curve in sorted(tensors.items(), key=lambda item: (item[0].endswith(".total"), item[0])):
        if ".curves." in name and curve.ndim == 2 and curve.shape[1] > 0 and curve.dtype.kind == "f":
            last = np.maximum.accumulate(np.where(np.isfinite(curve), np.arange(curve.shape[1]), 0), axis=1)
            curves[name] = np.take_along_axis(curve, last, axis=1).astype(float)
    return curves


def never_finite(folder: Path) -> int:
    """Count the frames that have no curve, since a loss of theirs was not finite from the start."""
    curves = fitting_curves(folder).values()
    return max((int((~_drawn(curve)).sum()) for curve in curves), default=0)


def _drawn(curve: np.ndarray) -> np.ndarray:
    return np.isfinite(curve).all(axis=1)


def thinned(curve: Sequence[tuple[int, float]]) -> Sequence[tuple[int, float]]:
    """Keep at most a few hundred points of a curve, first and last among them."""
    if len(curve) <= _POINTS:
        return curve
    return [curve[i] for i in spread(_POINTS, len(curve))]
