"""Holds the results of an evaluation: the scores of every frame, and the columns that tables show them in."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator
from functools import cached_property
from typing import Literal, Self

from pydantic import Field, computed_field, model_validator

from lipflow_core.config import MetricConfig
from lipflow_core.differences import Difference
from lipflow_core.evaluation.calibration import CALIBRATION_DEFINITIONS, Calibration
from lipflow_core.evaluation.text import calibration_table, cautions, notes, score_table
from lipflow_core.fitting.result import GridChoice
from lipflow_core.results import Number, Result, finite_mean
from lipflow_core.specs.model import ScoredCode

Code = ScoredCode
"""Kind of code of a frame that is decoded and scored."""
CODES: dict[Code, str] = {
    "posterior": "Q's code",
    "start": "before fitting",
    "fitted": "after fitting",
    "fitted-without-likelihood": "after, without likelihood",
}
"""Kind of code → its name in tables."""
OPTIONS = ("system", "preset", "seed", "prior", "fitting_prior", "driving", "flow", "overrides")
"""Fields of `ModelScores` that tell how models differ: columns of `scores.csv`."""


class Column(Result):
    """Describes a column of figures: heading, unit, format and definition."""

    heading: str
    """Short name, such as "PSNR"."""
    unit: str = ""
    """Unit of the values, such as "dB"; empty if they have none."""
    digits: int = Field(default=2, ge=0, le=12)
    """Decimal places that tables print."""
    higher_is_better: bool | None = None
    """Whether larger values are better; null if the column does not rank models."""
    definition: str = ""
    """Exact definition of the values."""

    @classmethod
    def of(cls, name: str, config: MetricConfig) -> Self:
        """Describe a metric's column; `name` tells a second metric of one kind apart, as in "psnr#2"."""
        _, mark, number = name.partition("#")
        return cls(
            heading=f"{config.heading} {mark}{number}".strip(),
            unit=config.unit,
            digits=config.digits,
            higher_is_better=config.higher_is_better,
            definition=config.definition,
        )

    @property
    def title(self) -> str:
        """The heading with an arrow to the better side."""
        arrow = {True: " ↑", False: " ↓", None: ""}[self.higher_is_better]
        return self.heading + arrow

    def text(self, value: float, *, unit: bool = False) -> str:
        """Print a value of the column, with its unit if asked for; a dash if it is not finite."""
        if not math.isfinite(value):
            return "–"
        return f"{value:.{self.digits}f}{f' {self.unit}' if unit and self.unit else ''}"


TRAVELLED = Column(
    heading="travelled",
    definition="Euclidean distance between the fitted code and the code that fitting started from, divided by the root "
    "mean square distance of the same frames' posterior codes from their mean.",
)
"""The column of `ModelScores.distance`."""
DEFINITIONS = {"Travelled": TRAVELLED.definition, **CALIBRATION_DEFINITIONS}
"""Definitions of the figures of an evaluation that are not metrics."""


class Failure(Result):
    """Names a frame that could not be scored because the model gave NaN or infinity."""

    segment: str
    """Segment of the frame."""
    number: int
    """Number of the frame within the segment."""
    part: str
    """Part that was not finite, such as "decoded vertices"."""


class Provenance(Result):
    """Tells which capture and machine the scores come from."""

    capture: str = ""
    """Identity of the capture; only scores on the same capture are comparable."""
    capture_name: str = ""
    """Name of the capture in tables, such as "studio p01"."""
    device: str = ""
    """Device that the model was on."""
    threads: int = 0
    """Number of torch's threads."""
    parameters: int = 0
    """Number of the model's parameters."""


class ModelScores(Result):
    """Holds one model's scores, frame by frame."""

    name: str
    """Name of the model in tables."""
    system: str
    """The spec's name."""
    preset: str
    """The spec's preset."""
    seed: int = 0
    """The spec's seed."""
    prior: str = ""
    """The prior of training."""
    fitting_prior: str = ""
    """The prior of fitting."""
    driving: str | None = None
    """The driving encoder; null without one."""
    flow: str | None = None
    """The flow; null without one."""
    overrides: tuple[str, ...] = ()
    """Options that the evaluation changed, such as "fitting.steps=50"."""
    model: str
    """Folder of the model; empty if it was given as an avatar."""
    identity: str
    """Hash of everything that the scores depend on."""
    folder: str
    """Name of the model's folder within the evaluation's."""
    metrics: dict[str, Column]
    """Metric → its column, in the order of the tables."""
    frames: tuple[tuple[str, int], ...]
    """Segment and number of each scored frame."""
    scores: dict[Code, dict[str, tuple[Number, ...]]]
    """Code → metric → a value per frame; NaN where a frame could not be scored."""
    distance: dict[Code, tuple[Number, ...]] = Field(default_factory=dict)
    """Fitted code → the distance travelled per frame, relative to the posterior codes' spread."""
    steps: dict[Code, tuple[int, ...]] = Field(default_factory=dict)
    """Fitted code → updates made per frame."""
    nonfinite: dict[Code, int] = Field(default_factory=dict)
    """Fitted code → number of frames that stopped because their loss was not finite."""
    unseen: dict[Code, int] = Field(default_factory=dict)
    """Fitted code → number of frames that showed nothing to fit to, such as those of empty masks."""
    failures: dict[Code, tuple[Failure, ...]] = Field(default_factory=dict)
    """Code → the frames that could not be scored because the model made NaN or infinity."""
    grid: dict[Code, GridChoice] = Field(default_factory=dict)
    """Fitted code → the grid search's choice; empty without a grid."""
    calibration: Calibration | None = None
    """Calibration of the fitting prior on the same frames; null if Q's codes can't test it."""
    not_calibrated: str | None = None
    """Reason why there is no calibration; null if there is one."""
    not_fitted_without: str | None = None
    """Reason why there is no fit without likelihood although it was asked for; null if there is one or none was."""
    seconds: Number = 0.0
    """Wall-clock time in seconds of all fits together; null if the codes were fitted elsewhere."""
    provenance: Provenance = Provenance()
    """Capture, device and size of the model."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        # The folder's name may come from a stranger: it may not lead out of the evaluation's folder.
        if not is_folder_name(self.folder):
            raise ValueError(f"'{self.folder}' is not the name of a model's folder")
        for code, columns in self.scores.items():
            if columns.keys() != self.metrics.keys():
                raise ValueError(f"scores of '{code}' are not those of the metrics {', '.join(self.metrics)}")
        columns = [column for columns in self.scores.values() for column in columns.values()]
        columns += [*self.distance.values(), *self.steps.values()]
        if self.calibration is not None:
            columns += self.calibration.nll.values()
        if any(len(column) != len(self.frames) for column in columns):
            raise ValueError(f"a column has not one value for each of the {len(self.frames)} frames")
        if unknown := ({*self.distance, *self.steps} - {*self.scores}):
            raise ValueError(f"there are no scores of {', '.join(unknown)}")
        return self

    @computed_field
    @property
    def means(self) -> dict[Code, dict[str, Number]]:
        """Kind of code → metric, or "distance" → mean over the frames with a finite value."""
        found = {}
        for code, columns in self.scores.items():
            travelled = {"distance": self.travelled(code)} if code in self.distance else {}
            found[code] = {**travelled, **{metric: finite_mean(values) for metric, values in columns.items()}}
        return found

    def mean(self, code: Code, metric: str) -> float:
        """Average a metric over the frames for one of the codes; NaN if it was not scored."""
        return finite_mean(self.scores[code][metric])

    def travelled(self, code: Code) -> float:
        """Average the distance of `TRAVELLED` over the frames; NaN for codes that were not fitted."""
        return finite_mean(self.distance.get(code, ()))

    @property
    def capture(self) -> str:
        """Name of the capture for tables, or its identity if it has no name."""
        return self.provenance.capture_name or self.provenance.capture or "–"

    def notes(self) -> list[str]:
        """List problems with fits and single frames, one line each."""
        return list(notes(self, CODES))


def is_folder_name(name: str) -> bool:
    """Tell whether a model's folder within an evaluation's can have this name on every system."""
    return name not in ("", ".", "..") and not set(name) & set("/\\:\0")


class ToBest(Difference):
    """A model's scores less those of the best model, for one kind of code and one metric."""

    code: Code
    """Kind of code that is scored."""
    metric: str
    """By which metric."""
    model: str
    """Name of the model."""
    best: str
    """Name of the model of the best mean."""


class Evaluation(Result):
    """Holds the scores of several models on the same split, by the same metrics."""

    format: Literal[2] = 2
    """Format of evaluation.json."""
    created: str = ""
    """Time of the evaluation, ISO 8601, UTC."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of lipflow-core, Python and torch."""
    split: str
    """Split that the frames come from."""
    view: str
    """Observation whose pictures were compared."""
    definitions: dict[str, str] = DEFINITIONS
    """Definitions of the figures that are not metrics."""
    models: tuple[ModelScores, ...]
    """Scores in the order in which the models were given."""

    @model_validator(mode="after")
    def _check(self) -> Self:
        for model in self.models[1:]:
            if model.metrics != self.metrics:
                raise ValueError(f"'{model.name}' and '{self.models[0].name}' are scored by different metrics")
        return self

    @property
    def metrics(self) -> dict[str, Column]:
        """Metric → its column, the same for all models."""
        return self.models[0].metrics if self.models else {}

    @property
    def comparable(self) -> bool:
        """Whether all models were scored on the same capture."""
        return len({model.provenance.capture for model in self.models}) <= 1

    @property
    def competing(self) -> bool:
        """Whether there are several models with comparable scores."""
        return len(self.models) > 1 and self.comparable

    @property
    def captures(self) -> str:
        """Name of the capture, such as "studio p01"; the captures of all models if they differ."""
        if self.comparable:
            return next((model.capture for model in self.models), "")
        return ", ".join(f"{model.name} on {model.capture}" for model in self.models)

    def warning(self) -> str | None:
        """Warn that the models' scores are not comparable; None if they are."""
        if self.comparable:
            return None
        return f"the models were scored on different captures ({self.captures}), so that their scores do not compare"

    def best(self, code: Code, metric: str) -> ModelScores | None:
        """Find the model with the best mean of a metric, for one kind of code; None if there is no competition."""
        scored = [model for model in self.models if code in model.scores and math.isfinite(model.mean(code, metric))]
        if not self.competing or not scored:
            return None
        choose = max if self.metrics[metric].higher_is_better else min
        return choose(scored, key=lambda model: model.mean(code, metric))

    @computed_field
    @cached_property
    def differences(self) -> tuple[ToBest, ...]:
        """Each model's scores less those of the best of its kind of code and metric, over the frames of both."""
        found = []
        for code in CODES:
            for metric in self.metrics:
                best = self.best(code, metric)
                for model in self.models:
                    if best is None or model is best or code not in model.scores:
                        continue
                    if not math.isfinite(model.mean(code, metric)):
                        continue
                    ours, theirs = (
                        dict(zip(one.frames, one.scores[code][metric], strict=True)) for one in (model, best)
                    )
                    shared = [frame for frame in ours if frame in theirs]
                    scores = [[column[frame] for frame in shared] for column in (ours, theirs)]
                    named = {"code": code, "metric": metric, "model": model.name, "best": best.name}
                    found.append(ToBest.of(*scores, [segment for segment, _ in shared], **named))
        return tuple(found)

    def to_best(self, model: ModelScores, code: Code, metric: str) -> Difference | None:
        """Find the model's difference to the best; None if there is no best, or the model is it."""
        asked = (code, metric, model.name)
        return next((one for one in self.differences if (one.code, one.metric, one.model) == asked), None)

    def tells(self, code: Code, metric: str) -> bool:
        """Tell whether the frames are of enough sequences to compare every scored model with the best."""
        asked = [one for one in self.differences if (one.code, one.metric) == (code, metric)]
        return all(math.isfinite(one.error) for one in asked)

    def is_best(self, model: ModelScores, code: Code, metric: str) -> bool:
        """Tell whether a model is the best, prints its figure, or is not shown to be worse by the frames.

        False for every model if there are too few sequences to compare; see `cautions`.
        """
        best = self.best(code, metric)
        if best is None or not math.isfinite(model.mean(code, metric)) or not self.tells(code, metric):
            return False
        column, difference = self.metrics[metric], self.to_best(model, code, metric)
        if difference is None or len({round(one.mean(code, metric), column.digits) for one in (model, best)}) == 1:
            return True
        worse = difference.mean < 0 if column.higher_is_better else difference.mean > 0
        return not (worse and difference.told_apart)

    def cautions(self) -> list[str]:
        """Say what the number of sequences forbids to conclude about which model is best, a line for each."""
        return list(cautions(self, CODES)) if self.competing else []

    def rows(self) -> Iterator[tuple[ModelScores, Code]]:
        """Yield the table's rows: each model's codes, in the order of `CODES`."""
        for model in self.models:
            for code in CODES:
                if code in model.scores:
                    yield model, code

    def table(self) -> str:
        """Print the scores as plain text.

        Where models compete, an asterisk marks the best for each kind of code, and every model that is not shown to be
        worse. Lines below tell where nothing can be marked: the frames are of too few sequences, or the models were
        scored on different captures.
        """
        return score_table(self, CODES, TRAVELLED)

    def calibration_table(self) -> str:
        """Print the calibration of each model's prior; a line below says why a prior has none."""
        return calibration_table(self)

    def __repr__(self) -> str:
        return f"<Evaluation of {', '.join(model.name for model in self.models)} on {self.captures}>"

    def _repr_html_(self) -> str:
        return f"<pre>{html.escape(self.table())}</pre>"
