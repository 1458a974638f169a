"""Holds the state of a run that checkpoints keep beside weights and optimizer, and the summary of a finished run."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, computed_field

from lipflow_core.results import Number, Result


class StageSummary(Result):
    """Tells how a stage ended."""

    name: str
    """Name of the stage."""
    steps: int
    """Number of optimizer steps that were done."""
    best_step: int
    """Step of the stage whose weights were kept."""
    held_out: Number
    """Held-out loss at that step."""
    stopped_early: bool
    """Whether patience ended the stage."""
    skipped: int
    """Number of steps that were skipped because the gradient was not finite."""
    warnings: tuple[str, ...] = ()
    """Warnings that were shown during the stage, one line each."""


class TrainingSummary(Result):
    """Holds the content of a finished run's `result.json`."""

    name: str
    """The spec's name."""
    version: str
    """Version of lipflow-core."""
    stages: tuple[StageSummary, ...] = Field(min_length=1)
    """Summary of each stage, in order."""
    steps: int
    """Number of optimizer steps in all stages."""
    seconds: Number
    """Time in seconds that the steps took, over all resumptions."""

    @computed_field
    @property
    def held_out(self) -> Number:
        """Held-out loss of the last stage."""
        return self.stages[-1].held_out


class RunState(BaseModel):
    """Holds the state of a run; each checkpoint's metadata has a copy.

    Attributes:
        stage: Number of the current stage, counted from 0; the number of stages when all are done.
        step: Number of steps done in the stage.
        before: Number of steps done in earlier stages.
        best_loss: Lowest held-out loss of the stage; None before the first evaluation.
        best_step: Step of the stage at which `best_loss` was reached.
        held_out: Latest held-out loss; None before the first evaluation, or if it was not finite.
        usual: Absolute value of each term in the stage's latest row of the log.
        warnings: Name of a term or encoder → the warning that was shown about it in this stage.
        finished: Summaries of the earlier stages.
        seconds: Time in seconds spent on training so far.
        metrics_bytes: Length of metrics.jsonl in bytes.
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
        """Number of steps done in all stages."""
        return self.before + self.step
