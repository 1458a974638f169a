"""A worker process: `python -m lipflow_core.ablation.worker` works on the cells that its driver names.

The driver writes JSON lines to its standard input: first the settings, then one cell at a time. The worker answers each
cell with a line, its outcome. When the input ends, because the driver closed it or died, the worker saves and ends.
"""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lipflow_core.ablation.cells import Cell
from lipflow_core.ablation.folder import GridFolder
from lipflow_core.ablation.work import GRACE, load_kinds, work_on
from lipflow_core.registry import set_command_line


def main() -> None:
    """Work on cells until the input ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    _print_to(os.open(os.devnull, os.O_WRONLY))
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
    stop = threading.Event()
    settings = json.loads(sys.stdin.readline())
    threading.Thread(target=_listen, args=(lines, stop), daemon=True).start()
    set_command_line(settings["registry"], settings["disable"])
    grid = GridFolder(Path(settings["folder"]))
    kinds = load_kinds(settings["kinds"])
    while (line := lines.get()) is not None:
        cell = Cell(**json.loads(line))
        with _logging_to(grid.cell(cell.name).path):
            outcome = work_on(cell, grid, kinds, stop=stop.is_set, lease_seconds=settings["lease_seconds"])
        try:
            print(json.dumps(outcome.as_data()), file=answers, flush=True)
        except BrokenPipeError:
            break


def _listen(lines: queue.SimpleQueue[Any], stop: threading.Event) -> None:
    for line in sys.stdin:
        lines.put(line)
    stop.set()
    lines.put(None)
    threading.Event().wait(GRACE)
    os._exit(76)


@contextmanager
def _logging_to(folder: Path) -> Iterator[None]:
    """Write what is printed to the cell's log, by libraries in other languages too."""
    try:
        folder.mkdir(exist_ok=True)
        log = os.open(folder / "log.txt", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    except OSError:  # a full disk: the work itself tells
        log = os.open(os.devnull, os.O_WRONLY)
    _print_to(log)
    try:
        yield
    finally:
        _print_to(os.open(os.devnull, os.O_WRONLY))


def _print_to(descriptor: int) -> None:
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except OSError:
            continue
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)


if __name__ == "__main__":
    main()
