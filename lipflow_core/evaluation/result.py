"""What an evaluation gives back and writes: scores of every frame, plain enough for JSON."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from lipflow_core.evaluation.calibration import CALIBRATION_HEADINGS, Calibration, finite_mean, with_nan
from lipflow_core.evaluation.differences import Difference
from lipflow_core.tables import table

METRICS = ("psnr", "ssim", "geom", "millimetres")
HIGHER_IS_BETTER = frozenset({"psnr", "ssim"})

CODES = {
    "posterior": "Q's code",
    "start": "before fitting",
    "fitted": "after fitting",
    "fitted-without-likelihood": "after, without likelihood",
}
"""Which code of a frame is decoded and scored → how tables call it."""

HEADINGS = {"psnr": "PSNR ↑", "ssim": "SSIM ↑", "geom": "Geom ↓", "millimetres": "mm ↓", "distance": "travelled"}
DIGITS = {"psnr": 2, "ssim": 4, "geom": 4, "millimetres": 3, "distance": 2}


@dataclass(frozen=True)
class ModelScores:
    """One model's scores, frame by frame.

    Args:
        name: How tables call the model.
        system: The spec's name.
        preset: The spec's preset.
        model: Folder of the model.
        identity: Hash of everything that the scores depend on.
        folder: Name of the model's folder within the evaluation's.
        frames: Segment and number of each scored frame.
        scores: Code (see `CODES`) → metric → a value per frame; NaN where a frame could not be scored.
        distance: Fitted code → the distance travelled per frame, relative to the posterior codes' spread.
        steps: Fitted code → updates made per frame.
        nonfinite: Fitted code → how many frames stopped because their loss was not finite.
        grid: Fitted code → the grid search's choice; empty without a grid.
        calibration: Of the prior that fits, on the same frames; None where Q's codes say nothing of it.
        not_calibrated: Why there is none.
        seconds: Wall-clock time of fitting, all fits together.
        provenance: Versions, capture and options, for the report.
    """

    name: str
    system: str
    preset: str
    model: str
    identity: str
    folder: str
    frames: Sequence[tuple[str, int]]
    scores: Mapping[str, Mapping[str, Sequence[float]]]
    distance: Mapping[str, Sequence[float]] = field(default_factory=dict)
    steps: Mapping[str, Sequence[int]] = field(default_factory=dict)
    nonfinite: Mapping[str, int] = field(default_factory=dict)
    grid: Mapping[str, Any] = field(default_factory=dict)
    calibration: Calibration | None = None
    not_calibrated: str | None = None
    seconds: float = 0.0
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @property
    def capture(self) -> str:
        """What tells the capture best: its name, if it is known, or its identity."""
        return str(self.provenance.get("capture_name") or self.provenance.get("capture", "–"))

    def mean(self, code: str, metric: str) -> float:
        """Mean over the frames of a metric, or of "distance", for one of the codes; NaN if it was not scored."""
        return finite_mean(self.distance.get(code, ()) if metric == "distance" else self.scores[code][metric])

    def as_data(self) -> dict[str, Any]:
        """For JSON: NaN and infinity become null, and means stand beside the frames' values."""
        codes = {code: {metric: self.mean(code, metric) for metric in METRICS} for code in self.scores}
        for code in self.distance:
            codes[code]["distance"] = self.mean(code, "distance")
        calibration = None if self.calibration is None else self.calibration.as_data()
        return _without_nan({**asdict(self), "calibration": calibration, "mean": codes})

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_data` wrote.

        Raises:
            ValueError: If `folder` is not a plain name: it may not lead out of the evaluation's folder, which may come
                from a stranger.
        """
        values = {name: value for name, value in data.items() if name != "mean"}
        if values["folder"] in ("", ".", "..") or set(values["folder"]) & set("/\\:"):
            raise ValueError(f"'{values['folder']}' is not the name of a model's folder")
        values["frames"] = tuple((str(segment), int(number)) for segment, number in data["frames"])
        values["scores"] = {
            code: {metric: with_nan(column) for metric, column in metrics.items()}
            for code, metrics in data["scores"].items()
        }
        values["distance"] = {code: with_nan(column) for code, column in data["distance"].items()}
        if data.get("calibration") is not None:
            values["calibration"] = Calibration.from_data(data["calibration"])
        return cls(**values)

    def csv(self) -> str:
        """The frames as CSV, a column for each code and metric."""
        columns = {
            f"{code}_{metric}": values for code, metrics in self.scores.items() for metric, values in metrics.items()
        }
        columns |= {f"{code}_distance": values for code, values in self.distance.items()}
        columns |= {f"{code}_steps": values for code, values in self.steps.items()}
        if self.calibration is not None:
            columns |= {f"{code}_nll": values for code, values in self.calibration.nll.items()}
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(["segment", "frame", *columns])
        for (segment, number), *values in zip(self.frames, *columns.values(), strict=True):
            writer.writerow([segment, number, *values])
        return text.getvalue()


@dataclass(frozen=True)
class Evaluation:
    """Scores of several models on the same split.

    Args:
        models: In the order given.
        split: Which split.
        view: Observation that pictures were compared in.
        definitions: What each metric means.
        created: When, ISO 8601, UTC.
        versions: Of lipflow-core, Python and torch.
    """

    models: Sequence[ModelScores]
    split: str
    view: str
    definitions: Mapping[str, str]
    created: str
    versions: Mapping[str, str]

    def as_data(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "format": 1,
            "created": self.created,
            "versions": dict(self.versions),
            "split": self.split,
            "view": self.view,
            "definitions": dict(self.definitions),
            "models": [model.as_data() for model in self.models],
        }

    @classmethod
    def from_data(cls, data: Mapping[str, Any]) -> Self:
        """Read what `as_data` wrote."""
        values = {name: value for name, value in data.items() if name not in ("format", "models")}
        return cls(models=tuple(ModelScores.from_data(model) for model in data["models"]), **values)

    @property
    def comparable(self) -> bool:
        """Whether all models were scored on the same capture."""
        return len({model.provenance.get("capture") for model in self.models}) <= 1

    @property
    def captures(self) -> str:
        """What the models were scored on, such as "dome p01_caucasian_male"; of each model where they differ."""
        if self.comparable:
            return next((model.capture for model in self.models), "")
        return ", ".join(f"{model.name} on {model.capture}" for model in self.models)

    def warning(self) -> str | None:
        """What stands against comparing the models; None if nothing does."""
        if self.comparable:
            return None
        return f"the models were scored on different captures ({self.captures}), so that their scores do not compare"

    def best(self, code: str, metric: str) -> ModelScores | None:
        """The model of the best mean of a metric, for one of the codes; None if there is nothing to compete for.

        That is so for a single model, for models of different captures, and for "distance", which has no better side.
        """
        scored = [model for model in self.models if code in model.scores and metric in METRICS]
        scored = [model for model in scored if math.isfinite(model.mean(code, metric))]
        if len(self.models) < 2 or not self.comparable or not scored:
            return None
        choose = max if metric in HIGHER_IS_BETTER else min
        return choose(scored, key=lambda model: model.mean(code, metric))

    def to_best(self, model: ModelScores, code: str, metric: str) -> Difference | None:
        """The model's scores less those of the best, over the frames of both; None if there is no best, or it is it."""
        best = self.best(code, metric)
        if best is None or model is best:
            return None
        ours, theirs = (dict(zip(one.frames, one.scores[code][metric], strict=True)) for one in (model, best))
        shared = [frame for frame in ours if frame in theirs]
        return Difference.of([ours[frame] for frame in shared], [theirs[frame] for frame in shared])

    def is_best(self, model: ModelScores, code: str, metric: str) -> bool:
        """Whether a model is the best, prints the same figure, or its frames do not tell it apart from the best."""
        best = self.best(code, metric)
        if best is None or not math.isfinite(model.mean(code, metric)):
            return False
        as_printed = {round(one.mean(code, metric), DIGITS[metric]) for one in (model, best)}
        difference = self.to_best(model, code, metric)
        return len(as_printed) == 1 or (math.isfinite(difference.error) and not difference.told_apart)

    def rows(self) -> Iterator[tuple[ModelScores, str]]:
        """The table's rows: each model's codes, in the order of `CODES`."""
        for model in self.models:
            for code in CODES:
                if code in model.scores:
                    yield model, code

    def table(self) -> str:
        """The scores as plain text; an asterisk marks the best of each kind of code where several models compete.

        It marks as well whatever is not told apart from the best. Models of different captures do not compete: a line
        below tells.
        """
        rows: list[list[str]] = []
        rules: list[int] = []
        above: ModelScores | None = None
        several = len(self.models) > 1 and self.comparable
        for model, code in self.rows():
            if model is not above:
                rules.append(len(rows))
            cells = ["" if model is above else model.name, CODES[code]]
            above = model
            for metric in HEADINGS:
                value = model.mean(code, metric) if metric != "distance" or code in model.distance else math.nan
                text = f"{value:.{DIGITS[metric]}f}" if math.isfinite(value) else "–"
                cells.append(text + ("*" if self.is_best(model, code, metric) else " " if several else ""))
            rows.append(cells)
        below = [f"warning: {self.warning()}"] if self.warning() else []
        if several:
            below = [
                "* among the same kind of code the best of the models, or within two standard errors of it",
                "  (of the difference, paired over frames)",
            ]
        return "\n".join([table(["model", "decoded", *HEADINGS.values()], rows, left=2, rules=rules), *below])

    def calibration_table(self) -> str:
        """How right each model's prior is about Q's codes, as plain text; a line below tells why one is not asked."""
        rows, below = [], []
        for model in self.models:
            if model.calibration is not None:
                figures = [model.calibration.figure(name) for name in CALIBRATION_HEADINGS]
                rows.append([model.name, *(f"{value:.2f}" if math.isfinite(value) else "–" for value in figures)])
            elif model.not_calibrated:
                below.append(f"{model.name}: {model.not_calibrated}")
        if rows:
            below.append("NLL in nats per dimension; 50 %: the share of Q's samples in regions that should hold 50 %")
            rows = [table(["prior of", *CALIBRATION_HEADINGS.values()], rows, left=1)]
        return "\n".join([*rows, *below])


def _without_nan(value: Any) -> Any:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Mapping():
            return {name: _without_nan(item) for name, item in value.items()}
        case list() | tuple():
            return [_without_nan(item) for item in value]
    return value
