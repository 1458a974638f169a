"""Where a run stands: everything that a resumed run must know beside weights and the optimizer's moments."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, computed_field

from lipflow_core.results import Number, Result


class StageSummary(Result):
    """How a stage ended."""

    name: str
    """Name of the stage."""
    steps: int
    """Optimizer steps done."""
    best_step: int
    """Step of the stage whose weights were kept."""
    held_out: Number
    """Held-out loss at that step."""
    stopped_early: bool
    """Whether patience ended the stage."""
    skipped: int
    """Steps left out because the gradient was not finite."""
    warnings: tuple[str, ...] = ()
    """What was told of the stage while it ran, a line each."""


class TrainingSummary(Result):
    """What `result.json` says of a run that is done."""

    name: str
    """The spec's name."""
    version: str
    """Version of lipflow-core."""
    stages: tuple[StageSummary, ...] = Field(min_length=1)
    """How each stage ended."""
    steps: int
    """Optimizer steps in all."""
    seconds: Number
    """Time spent on them, over all resumptions."""

    @computed_field
    @property
    def held_out(self) -> Number:
        """Held-out loss of the last stage."""
        return self.stages[-1].held_out


class RunState(BaseModel):
    """The state of a run, kept in each checkpoint's metadata.

    Attributes:
        stage: Number of the stage; that of the last plus one when all are done.
        step: Steps done in the stage.
        before: Steps done in the stages before.
        best_loss: Lowest held-out loss of the stage; None before the first evaluation.
        best_step: Step of the stage at which it was reached.
        held_out: The latest held-out loss.
        usual: Absolute value of each term in the stage's latest row of the log.
        warnings: What the user was warned of in the stage, by what it is about.
        finished: Summaries of the stages before.
        seconds: Time spent training so far.
        metrics_bytes: Length of metrics.jsonl.
        scaler: State of the loss scaler of 16-bit training.
    """

    model_config = ConfigDict(extra="forbid")

    stage: int = 0
    step: int = 0
    before: int = 0
    best_loss: float | None = None
    best_step: int = 0
    held_out: float | None = None
    usual: dict[str, float] = {}
    warnings: dict[str, str] = {}
    finished: list[StageSummary] = []
    seconds: float = 0.0
    metrics_bytes: int = 0
    scaler: dict[str, float] = {}

    @property
    def total(self) -> int:
        """Steps done in all stages."""
        return self.before + self.step
