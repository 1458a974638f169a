"""The contract of executors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import AbstractContextManager

from lipflow_core.ablation.cells import Cell
from lipflow_core.ablation.work import Outcome


class Executor(AbstractContextManager, ABC):
    """Runs cells; a context manager, whose end stops what still runs.

    Wherever a cell runs, `lipflow_core.ablation.work.work_on` claims it and publishes its result, so that the result
    counts even if neither driver nor executor hears of it.
    """

    @property
    @abstractmethod
    def free(self) -> int:
        """Number of cells that can be started now."""

    @abstractmethod
    def start(self, cell: Cell) -> None:
        """Start a cell."""

    @abstractmethod
    def wait(self, seconds: float) -> list[Outcome]:
        """Wait until a cell ends, at most some seconds, and give the outcomes of all that did.

        A cell that ran longer than its limit is ended by the executor; its outcome is "failed" and says so.
        """
