"""Runs cells in worker processes of this machine, which stay alive from cell to cell."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from lipflow_core.ablation.cells import Cell
from lipflow_core.ablation.executors.interface import Executor
from lipflow_core.ablation.folder import GridFolder
from lipflow_core.ablation.leases import SECONDS, Lease
from lipflow_core.ablation.work import GRACE, KINDS, Outcome, note_failure
from lipflow_core.errors import UsageError
from lipflow_core.registry import command_line
from lipflow_core.storage import make_folder

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMBA_NUM_THREADS")


@dataclass
class _Worker:
    process: subprocess.Popen[bytes]
    cell: Cell | None = None
    begun: float = 0.0
    received: bytes = field(default=b"")

    def left(self, now: float) -> float:
        """Seconds until the limit of its cell."""
        if self.cell is None or self.cell.limit is None:
            return float("inf")
        return self.begun + self.cell.limit - now


class LocalExecutor(Executor):
    """Worker processes of this machine.

    Args:
        grid: Folder of the grid.
        workers: Number of processes.
        threads: Number of threads of each.
        kinds: Where the kinds of cells are.
        lease_seconds: Life of a claim without renewal.
        crashes: Number of workers that may die over one cell before the cell counts as failed.
    """

    def __init__(
        self,
        grid: GridFolder,
        workers: int = 1,
        *,
        threads: int = 1,
        kinds: str = KINDS,
        lease_seconds: float = SECONDS,
        crashes: int = 3,
    ):
        if workers < 1:
            raise UsageError(f"{workers} workers can't run anything", "Give at least 1.")
        self.grid = grid
        self.count = workers
        self.threads = threads
        self.crashes = crashes
        registry, disable = command_line()
        self._settings = {
            "folder": str(grid.path.absolute()),
            "kinds": kinds,
            "lease_seconds": lease_seconds,
            "registry": [str(path) for path in registry],
            "disable": list(disable),
        }
        self._workers: list[_Worker] = []
        self._died: dict[str, int] = {}

    @property
    def pids(self) -> list[int]:
        """Numbers of the worker processes."""
        return [worker.process.pid for worker in self._workers]

    @property
    def free(self) -> int:
        return self.count - sum(worker.cell is not None for worker in self._workers)

    def start(self, cell: Cell) -> None:
        worker = next((one for one in self._workers if one.cell is None), None) or self._spawn()
        worker.cell, worker.begun = cell, time.monotonic()
        # A worker that died meanwhile is noticed by `wait`.
        with contextlib.suppress(BrokenPipeError):
            worker.process.stdin.write(json.dumps(cell.as_data()).encode() + b"\n")
            worker.process.stdin.flush()

    def wait(self, seconds: float) -> list[Outcome]:
        now = time.monotonic()
        busy = [worker for worker in self._workers if worker.cell is not None]
        until = min([seconds, *(max(0.0, worker.left(now)) for worker in busy)])
        pipes = {worker.process.stdout.fileno(): worker for worker in busy}
        ready, _, _ = select.select(list(pipes), [], [], until)
        outcomes = [self._read(pipes[pipe]) for pipe in ready]
        now = time.monotonic()
        outcomes += [self._end_late(worker) for worker in busy if worker.cell is not None and worker.left(now) <= 0]
        return [outcome for outcome in outcomes if outcome is not None]

    def __exit__(self, *exception: object) -> None:
        for worker in self._workers:
            with contextlib.suppress(OSError):
                worker.process.stdin.close()
        until = time.monotonic() + GRACE + 5
        for worker in self._workers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                worker.process.wait(max(0.0, until - time.monotonic()))
            self._end(worker)
        self._workers.clear()

    def _spawn(self) -> _Worker:
        # The worker finds what this process finds, wherever it was started.
        paths = [str(Path(path).absolute()) for path in sys.path if path]
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(paths),
            **dict.fromkeys(_THREAD_VARIABLES, str(self.threads)),
        }
        process = subprocess.Popen(
            [sys.executable, "-m", "lipflow_core.ablation.worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=environment,
            start_new_session=True,  # Ctrl-C is for the driver, which tells its workers; and children end with them
        )
        worker = _Worker(process)
        self._workers.append(worker)
        with contextlib.suppress(BrokenPipeError):
            process.stdin.write(json.dumps(self._settings).encode() + b"\n")
            process.stdin.flush()
        return worker

    def _read(self, worker: _Worker) -> Outcome | None:
        data = os.read(worker.process.stdout.fileno(), 1 << 16)
        if not data:
            return self._bury(worker)
        worker.received += data
        line, newline, rest = worker.received.partition(b"\n")
        if not newline:
            return None
        worker.received, worker.cell = rest, None
        return Outcome(**json.loads(line))

    def _bury(self, worker: _Worker) -> Outcome:
        """Tell of a worker that died: its cell may be tried again, unless several died over it."""
        cell = worker.cell
        self._end(worker)
        self._workers.remove(worker)
        self._died[cell.name] = self._died.get(cell.name, 0) + 1
        code = worker.process.returncode
        how = f"by signal {signal.Signals(-code).name}" if code < 0 else f"with exit code {code}"
        if self._died[cell.name] < self.crashes:
            return Outcome(cell.name, "elsewhere", f"its worker ended {how}")
        return self._failed(cell, f"{self.crashes} workers ended over it, the last {how}", worker)

    def _end_late(self, worker: _Worker) -> Outcome:
        cell = worker.cell
        self._end(worker)
        self._workers.remove(worker)
        return self._failed(cell, f"it ran longer than its limit of {cell.limit:g} s", worker)

    def _failed(self, cell: Cell, message: str, worker: _Worker) -> Outcome:
        """Note the failure of a cell whose worker is gone, unless another process has the cell or it is done."""
        seconds = time.monotonic() - worker.begun
        folder = self.grid.cell(cell.name)
        make_folder(folder.path, within=self.grid.path)
        lease = Lease.take(folder.path, self.grid.clock)
        if lease is None or folder.done:
            return Outcome(cell.name, "elsewhere")
        note_failure(self.grid, cell.name, message, seconds, lease.number)
        lease.release()
        return Outcome(cell.name, "failed", message, round(seconds, 3), 1)

    def _end(self, worker: _Worker) -> None:
        """End a worker and its children at once."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(worker.process.pid, signal.SIGKILL)
        worker.process.wait()
        for pipe in (worker.process.stdin, worker.process.stdout):
            with contextlib.suppress(OSError):
                pipe.close()
