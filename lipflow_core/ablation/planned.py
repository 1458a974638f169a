"""Keeps the parts of a plan that --status needs in the grid's folder, so that it need not plan. Imports no torch."""

from __future__ import annotations

import importlib.metadata
import json
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lipflow_core.ablation.cells import Name, Plan, digest
from lipflow_core.ablation.code import all_code
from lipflow_core.ablation.folder import PLANS, GridFolder
from lipflow_core.ablation.grid import Grid
from lipflow_core.errors import SpecError
from lipflow_core.registry import Registry
from lipflow_core.specs import find_spec
from lipflow_core.storage import write_atomically


@dataclass(frozen=True)
class PlannedCell:
    """A cell of a plan, without what its work needs.

    Args:
        kind: Kind of the work.
        label: How people call it.
        needs: Names of the cells that it needs.
    """

    kind: str
    label: str
    needs: tuple[str, ...]


@dataclass(frozen=True)
class Planned:
    """The cells of a plan.

    Args:
        cells: Name → cell.
        how: Hash of numerics and code in the cells' names → numerics and code.
    """

    cells: Mapping[str, PlannedCell]
    how: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, plan: Plan) -> Planned:
        """Keep of a plan what status needs."""
        cells = {name: PlannedCell(c.kind, c.label, tuple(c.needs.values())) for name, c in plan.cells.items()}
        return cls(cells, {Name.of(name).how: cell.how for name, cell in plan.cells.items()})


def request_of(grid: Grid, only: Sequence[str], registry: Registry) -> str:
    """Hash all that the plan of a grid depends on, but for the content of captures."""
    files = {}
    for system in grid.systems.values():
        try:
            files[system.spec] = find_spec(system.spec).read_text(encoding="utf-8")
        except (SpecError, OSError, UnicodeDecodeError):
            files[system.spec] = None
    versions = {"torch": importlib.metadata.version("torch"), **all_code(registry)}
    return digest([grid.model_dump(mode="json"), sorted(only), files, versions, socket.gethostname()], 16)


def remember(plan: Planned, request: str, grid: GridFolder) -> None:
    """Keep a plan in the grid's folder."""
    data = {
        "cells": [[name, cell.kind, cell.label, list(cell.needs)] for name, cell in plan.cells.items()],
        "how": plan.how,
    }
    write_atomically(_place(grid, request), json.dumps(data), within=grid.path, durable=False)


def recall(request: str, grid: GridFolder) -> Planned | None:
    """Read a plan that was kept; None if there is none, or it can't be read."""
    try:
        data = json.loads(_place(grid, request).read_bytes())
        cells = {name: PlannedCell(kind, label, tuple(needs)) for name, kind, label, needs in data["cells"]}
        return Planned(cells, data["how"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _place(grid: GridFolder, request: str) -> Path:
    return grid.path / PLANS / f"{request}.json"
