"""The folder of a grid: what of its cells is on disk.

```
OUT/
  cells/WHAT-DATA-HOW/
    key.json       everything that the cell's name is a hash of
    result.json    its presence means done
    error.json     why the last attempt failed
    log.txt        what the work printed
    claim-N        the process that works on it
    …              what the kind of work leaves, such as a training run
  plans/           what the last drivers planned, for --status
  grid.json        the grid, written out, as the last driver ran it; a grid file itself
  table.csv        a row for each cell, frame and metric
  findings.json    differences to the baseline and verdicts on the claims, with their cautions
```

Imports no torch.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from lipflow_core.ablation.cells import Cell, Name
from lipflow_core.ablation.leases import Clock, is_claimed
from lipflow_core.errors import ResultError, StorageError
from lipflow_core.results import Number, Result
from lipflow_core.storage import storage_error, write_atomically

CELLS, PLANS, GRID, TABLE, FINDINGS = "cells", "plans", "grid.json", "table.csv", "findings.json"
KEY, RESULT, ERROR, LOG = "key.json", "result.json", "error.json", "log.txt"
_LAST_LINES = 12


class CellResult(Result):
    """The content of a cell's `result.json`."""

    kind: str
    """Kind of the work."""
    label: str
    """Name of the cell for people."""
    seconds: Number
    """Wall-clock time of the last attempt."""
    cpu_seconds: Number
    """Time of all its processors, child processes included."""
    attempt: int
    """Number of the claim under which it was done."""
    finished: str
    """When it was done, ISO 8601, UTC."""
    value: dict[str, Any]
    """Values that the work returned."""


class CellError(Result):
    """The content of a cell's `error.json`."""

    message: str
    """Description of the failure."""
    seconds: Number
    """Duration of the attempt."""
    attempt: int
    """Number of the claim under which it failed."""
    lines: tuple[str, ...] = ()
    """Last lines of the cell's log."""


@dataclass(frozen=True)
class CellFolder:
    """The folder of one cell.

    Args:
        path: Path of the folder, which need not exist.
    """

    path: Path

    @property
    def done(self) -> bool:
        """Whether the cell is done."""
        return (self.path / RESULT).exists()

    @property
    def failed(self) -> bool:
        """Whether the last attempt failed."""
        return (self.path / ERROR).exists() and not self.done

    def result(self) -> CellResult:
        """Read what the cell gave.

        Raises:
            lipflow_core.errors.ResultError: If it is not done, or damaged.
        """
        return CellResult.read(self.path / RESULT, "Remove the file; the cell is then run again.")

    def error(self) -> CellError | None:
        """Read why the cell failed; None if it did not."""
        if not self.failed:
            return None
        return CellError.read(self.path / ERROR, "Remove the file; the cell is then run again.")

    def key(self) -> dict[str, Any] | None:
        """Read what the cell's name is a hash of; None if it was never begun."""
        try:
            return json.loads((self.path / KEY).read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise ResultError(f"{self.path / KEY}: is damaged: {error}", "Remove the cell's folder.") from error

    def last_lines(self) -> tuple[str, ...]:
        """Give the last lines of the cell's log."""
        try:
            with open(self.path / LOG, "rb") as file:
                file.seek(max(0, os.fstat(file.fileno()).st_size - 8192))
                text = file.read().decode(errors="replace")
        except OSError:
            return ()
        return tuple(line for line in text.splitlines() if line.strip())[-_LAST_LINES:]


class GridFolder:
    """The folder of a grid.

    Args:
        path: Path of the folder, which need not exist.

    Raises:
        lipflow_core.errors.StorageError: If it holds other files.
    """

    def __init__(self, path: Path):
        self.path = path
        try:
            if not self.exists and path.is_dir() and any(path.iterdir()):
                raise StorageError(f"{path}: is not empty and holds no ablation", "Choose another --out.")
        except OSError as error:
            raise storage_error(path, error) from error

    @property
    def exists(self) -> bool:
        """Whether the folder was made."""
        return self.cells.is_dir()

    def make(self) -> None:
        """Make the folder, or keep the one there.

        Raises:
            lipflow_core.errors.StorageError: If it can't be made.
        """
        try:
            self.cells.mkdir(parents=True, exist_ok=True)
            (self.path / PLANS).mkdir(exist_ok=True)
        except OSError as error:
            raise storage_error(self.path, error) from error

    @property
    def cells(self) -> Path:
        """Folder of all cells."""
        return self.path / CELLS

    @cached_property
    def clock(self) -> Clock:
        """Clock of the folder's file system."""
        return Clock(self.path)

    def cell(self, name: str) -> CellFolder:
        """Give the folder of a cell."""
        return CellFolder(self.cells / name)

    def names(self) -> list[str]:
        """List the names of all cells on disk, whatever their state."""
        if not self.exists:
            return []
        return [entry.name for entry in os.scandir(self.cells) if entry.name.count("-") == 2 and entry.name[0] != "."]

    def is_claimed(self, name: str) -> bool:
        """Tell whether a live process works on a cell."""
        return is_claimed(self.cells / name, self.clock)

    def others(self) -> dict[str, list[str]]:
        """Map the hash of what cells compute → names of the cells on disk, to find those of other data or code."""
        found: dict[str, list[str]] = {}
        for name in self.names():
            found.setdefault(Name.of(name).what, []).append(name)
        return found

    def write_key(self, cell: Cell) -> None:
        """Write what a cell's name is a hash of."""
        text = json.dumps(cell.as_data(), indent=1, sort_keys=True, allow_nan=False) + "\n"
        folder = self.cells / cell.name
        write_atomically(folder / KEY, text, within=self.path, durable=False)


def changes(old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say how numerics and code differ, such as "code lipflow-core 0.1.0 → 0.1.1".

    Args:
        old: "numerics" and "code" → name → value, of an earlier cell.
        new: The same of the cell that is wanted now.
    """
    told = []
    for part in sorted(old.keys() | new.keys()):
        before, after = old.get(part, {}), new.get(part, {})
        for name in sorted(before.keys() | after.keys()):
            if before.get(name) != after.get(name):
                told.append(f"{part} {name} {before.get(name, 'none')} → {after.get(name, 'none')}")
    return told
