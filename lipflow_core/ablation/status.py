"""Tells which cells of a grid are done, running, waiting, failed or stale, and what they cost. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from lipflow_core.ablation.cells import Name
from lipflow_core.ablation.folder import CellError, GridFolder
from lipflow_core.ablation.planned import Planned
from lipflow_core.errors import ResultError
from lipflow_core.tables import counted, printable, table

State = Literal["done", "running", "failed", "stale", "waiting"]
STATES: tuple[State, ...] = ("done", "running", "waiting", "failed", "stale")


@dataclass(frozen=True)
class Status:
    """The state of a grid.

    Args:
        states: Cell → its state. "stale" means that there is a cell of the same specs and data that was done by other
            code or numerics, and "waiting" that nothing works on it.
        kinds: Cell → its kind.
        labels: Cell → how people call it.
        errors: Failed cell → why.
        former: Stale cell → the cells that were done in its place.
        cpu_seconds: Kind → processor time of each cell that is done.
    """

    states: Mapping[str, State]
    kinds: Mapping[str, str]
    labels: Mapping[str, str]
    errors: Mapping[str, CellError] = field(default_factory=dict)
    former: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    cpu_seconds: Mapping[str, list[float]] = field(default_factory=dict)

    def count(self, state: State, kind: str | None = None) -> int:
        """Count the cells in a state, of one kind or all."""
        return sum(found == state and kind in (None, self.kinds[name]) for name, found in self.states.items())

    def having(self, state: State) -> list[str]:
        """List the cells in a state."""
        return [name for name, found in self.states.items() if found == state]

    @property
    def hours_left(self) -> float:
        """Processor hours that the cells which are not done will take, as their kind took so far."""
        left = 0.0
        for name, state in self.states.items():
            took = self.cpu_seconds.get(self.kinds[name])
            if state != "done" and took:
                left += sum(took) / len(took)
        return left / 3600

    @property
    def unknown(self) -> list[str]:
        """Kinds of which cells are left and none is done, so that their cost is not known."""
        left = {self.kinds[name]: None for name, state in self.states.items() if state != "done"}
        return [kind for kind in left if not self.cpu_seconds.get(kind)]

    def _left(self) -> str:
        known = f"about {_duration(self.hours_left * 3600)} of CPU time"
        if not self.unknown:
            return known
        kinds = ", ".join(self.unknown)
        why = "not known before a first cell of that kind is done"
        return f"{known}, and cells of kind {kinds}: time {why}" if self.hours_left else f"{kinds}: CPU time {why}"

    def text(self) -> str:
        """Print the state as tables: cells by kind and state, what is left, and the failed ones with their logs."""
        kinds = list(dict.fromkeys(self.kinds.values()))
        counts: dict[tuple[str, State], int] = {}
        for name, state in self.states.items():
            place = (self.kinds[name], state)
            counts[place] = counts.get(place, 0) + 1
        rows = [[kind, *(str(counts.get((kind, state), "–")) for state in STATES)] for kind in kinds]
        rows.append(["all", *(str(self.count(state)) for state in STATES)])
        lines = [table(("cells", *STATES), rows, left=1, rules=(len(rows) - 1,))]
        if self.count("done") < len(self.states):
            lines.append(f"left: {self._left()}")
        running = self.having("running")
        if running:
            lines.append(f"running: {_few([self.labels[name] for name in running])}")
        for name in self.having("failed")[:20]:
            error = self.errors[name]
            lines.append(f"failed: {self.labels[name]} ({name}): {error.message}")
            lines += [f"  | {line}" for line in error.lines]
        if self.count("failed") > 20:
            lines.append(f"… and {self.count('failed') - 20} more failed")
        return printable("\n".join(lines))


def status_of(planned: Planned, grid: GridFolder) -> Status:
    """Look at the folder of a grid.

    Args:
        planned: Names, kinds and needs of its cells.
        grid: Its folder.
    """
    on_disk = set(grid.names())
    others: dict[str, list[str]] | None = None
    states: dict[str, State] = {}
    errors: dict[str, CellError] = {}
    former: dict[str, tuple[str, ...]] = {}
    took: dict[str, list[float]] = {}
    for name, cell in planned.cells.items():
        folder = grid.cell(name)
        if name in on_disk and folder.done:
            states[name] = "done"
            try:
                took.setdefault(cell.kind, []).append(folder.result().cpu_seconds)
            except ResultError:
                states[name] = "failed"
                errors[name] = CellError(message="its result.json is damaged", seconds=0, attempt=0)
        elif name in on_disk and grid.is_claimed(name):
            states[name] = "running"
        elif name in on_disk and (error := folder.error()) is not None:
            states[name], errors[name] = "failed", error
        else:
            others = grid.others() if others is None else others
            found = former_of(name, others, grid)
            states[name] = "stale" if found else "waiting"
            if found:
                former[name] = found
    kinds = {name: cell.kind for name, cell in planned.cells.items()}
    labels = {name: cell.label for name, cell in planned.cells.items()}
    return Status(states, kinds, labels, errors, former, took)


def former_of(name: str, others: Mapping[str, list[str]], grid: GridFolder) -> tuple[str, ...]:
    """List the done cells of the same specs and data as one that is not done, by other code or numerics."""
    own = Name.of(name)
    same = (other for other in others.get(own.what, ()) if other != name and Name.of(other).data == own.data)
    return tuple(other for other in same if grid.cell(other).done)


def stale_text(status: Status, grid: GridFolder, how: Mapping[str, Mapping[str, Mapping[str, str]]]) -> list[str]:
    """Say which parts of the stale cells' keys changed, a line for each change with the number of cells.

    Args:
        status: State of the grid.
        grid: Its folder.
        how: Hash of numerics and code → numerics and code, of the planned cells.
    """
    from lipflow_core.ablation.folder import changes

    groups: dict[tuple[str, str], list[str]] = {}
    for name, former in status.former.items():
        groups.setdefault((Name.of(former[-1]).how, Name.of(name).how), []).append(name)
    told: dict[str, int] = {}
    for (_, new), names in groups.items():
        key = grid.cell(status.former[names[0]][-1]).key()
        lines = ["key.json is missing"] if key is None else changes(key["how"], how[new])
        text = ", ".join(lines) or "what the cells need changed"
        told[text] = told.get(text, 0) + len(names)
    return [f"stale: {text} ({counted(count, 'cell')})" for text, count in told.items()]


def _duration(seconds: float) -> str:
    """Write a rough time in the unit that suits it: "5 s", "12 min", "3.4 h"."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.3g} h"


def _few(labels: list[str], count: int = 6) -> str:
    return ", ".join(labels[:count]) + (f" and {len(labels) - count} more" if len(labels) > count else "")
