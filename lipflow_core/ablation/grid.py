"""Grid files: which systems, at which points of which axes, on which tasks. Imports no torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path as FilePath
from typing import Annotated, Any, Literal

from pydantic import Field, PositiveFloat, PositiveInt, ValidationError, model_validator

from lipflow_core.ablation.cells import as_text
from lipflow_core.ablation.claims import Claim
from lipflow_core.config import Config
from lipflow_core.errors import SpecError
from lipflow_core.specs.document import Document, read_document
from lipflow_core.specs.options import apply_overrides, parse_override
from lipflow_core.specs.problems import spec_error
from lipflow_core.spelling import choices, did_you_mean

NAME = r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$"
ScoredCode = Literal["posterior", "start", "fitted"]
"""Which code a task scores: Q's, the one that fitting starts from, or the fitted one."""


class System(Config):
    """One row of the tables: a spec with changes."""

    spec: str
    """Spec file, or name of a shipped spec."""
    set: dict[str, Any] = Field(default={})
    """Option's path → value, such as `flow.steps: 2`; as overrides on the command line."""
    tasks: list[str] | None = None
    """Names of the grid's tasks that the system does; all of them if null."""


class Task(Config):
    """Defines what trained models are asked to do: changes of fitting and evaluation, and the code that is scored."""

    name: Annotated[str, Field(pattern=NAME)]
    """Name of the task in tables and claims."""
    like: str | None = None
    """Shipped task whose changes come first; null for none."""
    summary: str = ""
    """One sentence on what the task asks."""
    set: dict[str, Any] = Field(default={})
    """Option's path → value. Only options of fitting, evaluation, capture and renderer, so that all tasks share one
    training."""
    score: ScoredCode = "fitted"
    """Code that is decoded and scored: "fitted", "start" (the prior's mode, without fitting) or "posterior" (Q's)."""
    likelihood: bool = True
    """Whether fitting keeps the objectives that ask the prior."""
    split: Literal["held-out", "train"] = "held-out"
    """Split of the capture that the frames are of."""


class Limits(Config):
    """Seconds of wall-clock time after which a cell is ended and counts as failed; null for no limit."""

    capture: PositiveFloat | None = 24 * 3600.0
    """Making a simulated capture."""
    train: PositiveFloat | None = 7 * 24 * 3600.0
    """A training stage."""
    choose: PositiveFloat | None = 24 * 3600.0
    """A grid search of learning rate and latent weight."""
    fit: PositiveFloat | None = 24 * 3600.0
    """Fitting the frames of one model."""
    score: PositiveFloat | None = 24 * 3600.0
    """Scoring them."""


class Execution(Config):
    """Options of running cells. Only `threads` can change their results."""

    workers: PositiveInt = 1
    """Number of worker processes."""
    threads: PositiveInt = 1
    """Number of torch threads of each worker. It is part of the identity of cells."""
    lease: PositiveFloat = 120.0
    """Seconds without a sign of life after which other drivers take a cell over. Network file systems need 120."""
    sbatch: dict[str, str | int] = Field(default={})
    """Options of `sbatch` for --write-sbatch, such as `time: 24:00:00` and `mem: 16G`."""


class Grid(Config):
    """A grid of systems and tasks at every point of its axes."""

    name: Annotated[str, Field(pattern=NAME)]
    """Name of the grid."""
    systems: Annotated[dict[str, System], Field(min_length=1)]
    """Name in tables → spec, or `{spec: …, set: {…}}`."""
    axes: dict[str, Annotated[list[Any], Field(min_length=1)]] = Field(default={})
    """Path of an option → its values, such as `seed: [0, 1]`. Every system runs at every combination, so that every
    system must have the option."""
    tasks: Annotated[list[Task], Field(min_length=1)]
    """Names of shipped tasks, or own ones: `{name: …, set: {…}}`."""
    set: dict[str, Any] = Field(default={})
    """Changes of all systems, such as `preset: small`; those of a system come after them."""
    baseline: str | None = None
    """System that the others are compared with; null for none."""
    claims: list[Claim] = Field(default=[])
    """Claims such as `lip-flow > lip-kl by 0.1 psnr on headset`."""
    limits: Limits = Limits()
    """Time limits of cells."""
    execution: Execution = Execution()
    """Options of running cells."""

    @model_validator(mode="before")
    @classmethod
    def _write_names_out(cls, data: Any) -> Any:
        return _written_out(data) if isinstance(data, Mapping) else data


def _written_out(data: Mapping[str, Any]) -> dict[str, Any]:
    """Write names of specs and tasks out as the blocks that they stand for."""
    data = dict(data)
    if isinstance(systems := data.get("systems"), Mapping):
        data["systems"] = {k: {"spec": v} if isinstance(v, str) else v for k, v in systems.items()}
    if isinstance(tasks := data.get("tasks"), Sequence) and not isinstance(tasks, str):
        data["tasks"] = [{"name": v, "like": v} if isinstance(v, str) else v for v in tasks]
    return data


def load_grid(path_or_name: str | os.PathLike[str] | Mapping[str, Any], overrides: Iterable[str] = ()) -> Grid:
    """Load a grid file, write its tasks out, and check its names.

    Args:
        path_or_name: File, name of a shipped grid, or content of a grid file as plain data.
        overrides: Changes such as "execution.workers=2", "axes.seed=[0]" or "set.preset=tiny". "preset=tiny" is short
            for the last.

    Raises:
        lipflow_core.errors.SpecError: If it is invalid, listing every problem with file, line and column.

    Example:
        >>> grid = load_grid({"name": "a", "systems": {"dam": "dam"}, "tasks": ["decode"]}, ["preset=tiny"])
        >>> grid.tasks[0].score
        'posterior'
    """
    document, source = _read(path_or_name)
    if not isinstance(document.data, dict):
        raise SpecError(f"{source}: a grid must be a mapping of options to their values")
    document.data = _written_out(document.data)
    changes = []
    for text in overrides:
        path, value = parse_override(text)
        path = path if path[0] in Grid.model_fields else ("set", *path)
        # Below these, a key is a whole path of a spec.
        above = {"axes": 1, "set": 1, "systems": 3, "tasks": 3}.get(str(path[0]), len(path))
        changes.append(((*path[:above], ".".join(map(str, path[above:]))) if path[above:] else path, value))
    apply_overrides(document, changes)
    grid = _validated(Grid, document, source)
    problems = list(_problems(grid, document, source))
    if problems:
        raise SpecError((f"{len(problems)} problems:\n" if len(problems) > 1 else "") + "\n".join(problems))
    return grid.model_copy(update={"tasks": [_completed(task) for task in grid.tasks]})


def shipped_grids() -> list[str]:
    """List the names of the grids that come with lipflow-core."""
    return _shipped("specs/ablations")


def shipped_tasks() -> list[str]:
    """List the names of the tasks that come with lipflow-core."""
    return _shipped("specs/tasks")


def load_task(name: str) -> Task:
    """Load a shipped task.

    Raises:
        lipflow_core.errors.SpecError: If there is none of that name.
    """
    from lipflow_core.shipped import shipped

    if name not in shipped_tasks():
        raise SpecError(f"there is no shipped task '{name}'", choices(name, shipped_tasks()))
    file = shipped("specs/tasks") / f"{name}.yaml"
    return _completed(_validated(Task, read_document(file.read_bytes(), str(file)), str(file)))


def _shipped(folder: str) -> list[str]:
    from lipflow_core.shipped import shipped

    return sorted(file.stem for file in shipped(folder).glob("*.yaml"))


def _read(path_or_name: str | os.PathLike[str] | Mapping[str, Any]) -> tuple[Document, str]:
    from lipflow_core.shipped import shipped

    if isinstance(path_or_name, Mapping):
        return Document(_plain(path_or_name)), "grid"
    path = FilePath(path_or_name)
    if not path.is_file():
        names = shipped_grids()
        if str(path_or_name) not in names:
            raise SpecError(f"there is no file and no shipped grid '{path_or_name}'", choices(str(path_or_name), names))
        path = shipped("specs/ablations") / f"{path_or_name}.yaml"
    try:
        return read_document(path.read_bytes(), str(path)), str(path)
    except OSError as error:
        raise SpecError(f"{path}: can't be read: {error.strerror or error}") from error


def _validated(model: type[Any], document: Document, source: str) -> Any:
    from lipflow_core.registry import default_registry

    registry = default_registry()
    try:
        return model.model_validate(document.data, context={"registry": registry, "preset": None})
    except ValidationError as error:
        raise spec_error(error, document, model, registry, source) from None


def _problems(grid: Grid, document: Document, source: str) -> Iterable[str]:
    """Yield a line for each name that does not exist."""

    def at(*path: str | int, of_key: bool = False) -> str:
        return f"{document.origin(path, of_key=of_key) or source}: {'.'.join(map(str, path))}"

    systems, tasks = list(grid.systems), [task.name for task in grid.tasks]
    sets = {("set",): grid.set, **{("systems", name, "set"): system.set for name, system in grid.systems.items()}}
    for place, changes in sets.items():
        for path in (axis for axis in grid.axes if axis in changes):
            value = as_text(changes[path])
            yield (
                f"{at(*place, path)}: '{path}' is an axis, whose values come last, so that {value} would have no "
                f"effect; change the axis instead: 'axes.{path}=[{value}]'"
            )
    for axis, values in grid.axes.items():
        written = [as_text(value) for value in values]
        for number, value in enumerate(written):
            if value in written[:number]:
                yield f"{at('axes', axis, number)}: the value {value} stands here a second time"
    if grid.baseline is not None and grid.baseline not in systems:
        yield f"{at('baseline')}: there is no system '{grid.baseline}'{_meant(grid.baseline, systems)}"
    for name in systems:
        if set(name) & set("[] \t"):
            yield f"{at('systems', name, of_key=True)}: the name '{name}' has brackets or blanks"
        for task in grid.systems[name].tasks or ():
            if task not in tasks:
                yield f"{at('systems', name, 'tasks')}: there is no task '{task}'{_meant(task, tasks)}"
    for number, task in enumerate(grid.tasks):
        if task.like is not None and task.like not in shipped_tasks():
            yield (
                f"{at('tasks', number)}: there is no shipped task '{task.like}'{_meant(task.like, shipped_tasks())}; "
                "an own task is a mapping with 'name' and 'set'"
            )
        if tasks.index(task.name) != number:
            yield f"{at('tasks', number)}: the task '{task.name}' stands here a second time"
        for path in task.set:
            if path.partition(".")[0] not in TASK_BLOCKS:
                yield (
                    f"{at('tasks', number, 'set', path, of_key=True)}: a task can't change '{path}': all tasks share "
                    f"one training; it may change {', '.join(TASK_BLOCKS)}"
                )
    for number, claim in enumerate(grid.claims):
        for name in (claim.system, claim.other):
            # Of systems with axes of their own, each point is one.
            if name.partition("[")[0] not in systems:
                yield f"{at('claims', number)}: there is no system '{name}'{_meant(name, systems)}"
        if claim.task not in tasks:
            yield f"{at('claims', number)}: there is no task '{claim.task}'{_meant(claim.task, tasks)}"


TASK_BLOCKS = ("fitting", "evaluation", "capture", "renderer")
"""Blocks of a spec that a task may change."""


def _meant(word: str, known: Sequence[str]) -> str:
    return did_you_mean(word, known, "; ") or f"; there are {', '.join(known)}"


def _completed(task: Task) -> Task:
    """Lay a task over the shipped one that it is like."""
    if task.like is None:
        return task
    base = load_task(task.like)
    own = {name: getattr(task, name) for name in task.model_fields_set if name not in ("like", "set")}
    return base.model_copy(update={**own, "like": None, "set": {**base.set, **task.set}})


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
