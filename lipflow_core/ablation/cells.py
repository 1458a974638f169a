"""Cells, the units of work of a grid, and how they are named.

A cell's name has three hashes, `WHAT-DATA-HOW`. A folder listing thus tells which cells are done, and for a cell that
is not, whether an earlier one differs from it in its data, or in numerics and code alone. Imports no torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Any

JSON = Mapping[str, Any]


def digest(value: Any, letters: int) -> str:
    """Hash JSON data, whatever the order of its keys."""
    text = json.dumps(value, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:letters]


@dataclass(frozen=True)
class Cell:
    """One unit of work, done at most once.

    Args:
        kind: Kind of the work, such as "train".
        what: Everything of the resolved specs that the result depends on, the capture aside, as JSON data.
        data: Identity of the capture; empty if it uses none.
        how: "numerics" and "code" → name → value: torch's version, device, threads; versions of the packages in use.
        needs: Role → name of the cell whose result it uses.
        options: Further inputs of the work that do not change its result, such as the capture's folder.
        label: How people call it, such as "train dam seed=0".
        limit: Seconds of wall-clock time after which it is ended; None for no limit.

    Example:
        >>> one = Cell("train", {"seed": 0}, "p01", {"code": {"lipflow-core": "0.1.0"}})
        >>> other = Cell("train", {"seed": 0}, "p01", {"code": {"lipflow-core": "0.1.1"}})
        >>> Name.of(one.name).what == Name.of(other.name).what, one.name == other.name
        (True, False)
    """

    kind: str
    what: JSON
    data: str = ""
    how: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    needs: Mapping[str, str] = field(default_factory=dict)
    options: JSON = field(default_factory=dict)
    label: str = ""
    limit: float | None = None

    @cached_property
    def name(self) -> str:
        """Name of the cell's folder."""
        needs = [Name.of(name) for _, name in sorted(self.needs.items())]
        what = digest([self.kind, self.what, sorted(self.needs), [need.what for need in needs]], 16)
        data = digest([self.data, [need.data for need in needs]], 8)
        how = digest([self.how, [need.how for need in needs]], 8)
        return str(Name(what, data, how))

    def as_data(self) -> dict[str, Any]:
        """Give the cell as JSON data; `Cell(**data)` reads it."""
        return asdict(self)


@dataclass(frozen=True)
class Name:
    """A cell's name, taken apart.

    Args:
        what: Hash of the kind of work and of the specs, those of the cells that it needs included.
        data: Hash of the captures' identities.
        how: Hash of numerics and code.
    """

    what: str
    data: str
    how: str

    @classmethod
    def of(cls, name: str) -> Name:
        """Take a name apart."""
        what, data, how = name.split("-")
        return cls(what, data, how)

    def __str__(self) -> str:
        return f"{self.what}-{self.data}-{self.how}"


@dataclass(frozen=True)
class Scored:
    """One combination of the grid: a system and a task at one point of the axes.

    Args:
        system: Name of the system, with the values of axes that are neither seed nor subject, as in "dam[code=8]".
        task: Name of the task.
        subject: Whom the capture shows.
        seed: Seed of the training.
        axes: Axis → value.
        cell: Name of the cell that holds the scores.
        code: Which code of the cell's is scored, such as "fitted".
    """

    system: str
    task: str
    subject: str
    seed: int
    axes: JSON
    cell: str
    code: str

    def matches(self, only: Sequence[tuple[str, str]]) -> bool:
        """Tell whether it has one of the wanted values on every axis that is named."""
        own = {"system": self.system.partition("[")[0], "task": self.task, "subject": self.subject, "seed": self.seed}
        own |= self.axes
        wanted: dict[str, set[str]] = {}
        for axis, value in only:
            wanted.setdefault(axis, set()).add(value)
        return all(as_text(own[axis]) in values for axis, values in wanted.items())


def as_text(value: Any) -> str:
    """Write the value of an axis as a user writes it."""
    return value if isinstance(value, str) else json.dumps(value)


@dataclass(frozen=True)
class Plan:
    """All cells of a grid, each after those that it needs.

    Args:
        cells: Name → cell.
        scored: The grid's combinations.
        name: Name of the grid.
    """

    cells: Mapping[str, Cell]
    scored: tuple[Scored, ...] = ()
    name: str = ""

    def restricted(self, names: Sequence[str]) -> Plan:
        """Keep the named cells and all that they need."""
        kept = set(names)
        for name in reversed(list(self.cells)):
            if name in kept:
                kept.update(self.cells[name].needs.values())
        cells = {name: cell for name, cell in self.cells.items() if name in kept}
        return Plan(cells, tuple(one for one in self.scored if one.cell in kept), self.name)

    def kinds(self) -> Iterator[tuple[str, int]]:
        """Yield each kind with the number of its cells."""
        counts: dict[str, int] = {}
        for cell in self.cells.values():
            counts[cell.kind] = counts.get(cell.kind, 0) + 1
        yield from counts.items()
