"""Where a run stands: everything that a resumed run must know beside weights and the optimizer's moments."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class StageSummary(BaseModel):
    """How a stage ended.

    Attributes:
        name: Of the stage.
        steps: Optimizer steps done.
        best_step: Step of the stage whose weights were kept.
        held_out: Held-out loss there.
        stopped_early: Whether patience ended it.
        skipped: Steps left out because the gradient was not finite.
        warnings: What was told of it while it ran, a line each.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    steps: int
    best_step: int
    held_out: float
    stopped_early: bool
    skipped: int
    warnings: tuple[str, ...] = ()


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
