"""From a grid to its cells: every spec is loaded and planned before anything runs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

from lipflow_core.ablation.cells import Cell, Plan, Scored, as_text, digest
from lipflow_core.ablation.code import code_of
from lipflow_core.ablation.grid import Grid, System, Task
from lipflow_core.ablation.prefixes import prefix_of, training_key, used_parts
from lipflow_core.errors import LipflowError, PluginError, SpecError
from lipflow_core.model_lock import parts_of
from lipflow_core.parts import Part
from lipflow_core.planning import Blueprint, plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.registry import Registry, default_registry
from lipflow_core.specs import Spec, find_spec, load_spec
from lipflow_core.specs.document import read_document
from lipflow_core.spelling import choices

REPEATS = ("seed", "capture.subject", "capture.path", "capture.identity")
"""Axes that repeat a system, for other people and seeds; at every point of the other axes it is another system."""


def plan_grid(grid: Grid, registry: Registry | None = None, *, devices: Sequence[str] | None = None) -> Plan:
    """Plan every cell of a grid. What several combinations need is one cell.

    Args:
        grid: The grid.
        registry: Registry that components are looked up in; the default registry if None.
        devices: Device types to choose from for specs that say "auto"; those of this machine if None.

    Raises:
        lipflow_core.errors.SpecError: If a spec is invalid at some point of the axes, naming system and point; each
            problem once.
        lipflow_core.errors.PluginError: If all that is wrong is that plugins are missing.
    """
    if devices is None:
        from lipflow_core.assembly import usable_devices

        devices = usable_devices()
    return _Planner(grid, default_registry() if registry is None else registry, devices).plan()


@dataclass
class _Planner:
    """Collects the cells of a grid.

    Args:
        grid: The grid.
        registry: Where components are looked up.
        devices: Device types to choose from.
    """

    grid: Grid
    registry: Registry
    devices: Sequence[str]
    cells: dict[str, Cell] = field(default_factory=dict)
    problems: dict[str, LipflowError] = field(default_factory=dict)
    identities: dict[str, str] = field(default_factory=dict)
    versions: dict[str, dict[str, str]] = field(default_factory=dict)
    files: dict[str, Any] = field(default_factory=dict)
    asked: dict[str, Blueprint] = field(default_factory=dict)

    def plan(self) -> Plan:
        scored: list[Scored] = []
        axes = self.grid.axes
        for name, system in self.grid.systems.items():
            for point in _points({axis: values for axis, values in axes.items() if axis != "seed"}):
                first: list[Scored] = []
                for seed in axes.get("seed", (None,)):
                    # Nothing but the seed of training differs, so that one plan serves all seeds.
                    if first and type(seed) is int and 0 <= seed < 2**63:
                        scored += self._reseeded(first, seed)
                        continue
                    whole = {axis: seed if axis == "seed" else point[axis] for axis in axes}
                    found = list(self._combination(name, system, whole))
                    first = first or found
                    scored += found
        if not self.problems:
            self._check_distinct(scored)
            self._check_claims(scored)
        if self.problems:
            raise self._error()
        # All captures first, then all trainings: most of the work can then go on side by side.
        order = ("capture", "train", "choose", "fit", "score")
        cells = sorted(self.cells.items(), key=lambda item: order.index(item[1].kind))
        return Plan(dict(cells), tuple(scored), self.grid.name)

    def _combination(self, name: str, system: System, point: Mapping[str, Any]) -> Iterator[Scored]:
        """Plan the cells of a system at one point of the axes."""
        overrides = {**self.grid.set, **system.set, **point}
        where = f"system '{name}'" + (f" at {_at(point)}" if point else "")
        try:
            spec = self._load(system.spec, overrides)
            if spec.training.devices * spec.training.nodes > 1:
                raise SpecError(
                    "training.devices or training.nodes is above 1, but a cell trains in one process",
                    "Set both to 1; several workers train several cells at once.",
                )
            blueprint = plan(spec, devices=self.devices)
        except LipflowError as error:
            self._note(where, name, error)
            return
        label = f"{name} {_at(point)}".strip()
        model = None
        for task in self.grid.tasks:
            if system.tasks is not None and task.name not in system.tasks:
                continue
            try:
                asked = self._asked(blueprint, task)
            except LipflowError as error:
                self._note(f"{where}, task '{task.name}'", f"{name} {task.name}", error)
                continue
            model = model or self._training(blueprint, label)
            cell = self._scoring(model, asked, task, f"{label} {task.name}")
            others = {axis: value for axis, value in point.items() if axis not in REPEATS}
            yield Scored(
                system=f"{name}[{','.join(f'{axis}={as_text(v)}' for axis, v in others.items())}]" if others else name,
                task=task.name,
                subject=_subject(spec.capture, self._identity(spec.capture)),
                seed=spec.seed,
                axes=dict(point),
                cell=cell.name,
                code=task.score,
            )

    def _reseeded(self, scored: Sequence[Scored], seed: int) -> Iterator[Scored]:
        """Plan a combination that was planned, with another seed."""
        renamed: dict[str, str] = {}

        def again(name: str) -> str:
            if name not in renamed:
                cell = self.cells[name]
                what, options = cell.what, cell.options
                if cell.kind == "train":
                    what = {**what, "seed": seed}
                    options = {**options, "spec": {**options["spec"], "seed": seed}}
                if cell.kind != "capture":
                    needs = {role: again(needed) for role, needed in cell.needs.items()}
                    label = cell.label.replace(f" seed={scored[0].seed}", f" seed={seed}")
                    cell = self._add(replace(cell, what=what, options=options, needs=needs, label=label))
                renamed[name] = cell.name
            return renamed[name]

        for one in scored:
            yield replace(one, seed=seed, axes={**one.axes, "seed": seed}, cell=again(one.cell))

    def _check_distinct(self, scored: Sequence[Scored]) -> None:
        """Note points of the axes that tables could not tell apart, such as two options that name one subject."""
        first: dict[tuple[str, str, str, int], Scored] = {}
        for one in scored:
            before = first.setdefault((one.system, one.task, one.subject, one.seed), one)
            if before is not one:
                where = f"system '{one.system}', task '{one.task}'"
                error = SpecError(
                    f"{_at(before.axes)} and {_at(one.axes)} are both subject '{one.subject}' with seed {one.seed}",
                    "Leave one of them out.",
                )
                self._note(where, one.system, error)

    def _check_claims(self, scored: Sequence[Scored]) -> None:
        """Note claims about systems or metrics that no combination has."""
        for claim in self.grid.claims:
            where = f"claim '{claim}'"
            systems = list(dict.fromkeys(one.system for one in scored if one.task == claim.task))
            for name in (claim.system, claim.other):
                if name not in systems:
                    error = SpecError(f"no system '{name}' does task '{claim.task}'", choices(name, systems))
                    self._note(where, where, error)
                done = [one for one in scored if (one.system, one.task) == (name, claim.task)]
                metrics = {metric for one in done for metric in self._metrics(one)}
                if metrics and claim.metric not in metrics:
                    said = f"task '{claim.task}' does not score metric '{claim.metric}'"
                    error = SpecError(said, choices(claim.metric, metrics))
                    self._note(where, where, error)

    def _metrics(self, one: Scored) -> list[str]:
        from lipflow_core.interfaces.objective import numbered

        names = [metric["type"] for metric in self.cells[one.cell].what["evaluation"]["metrics"]]
        return list(numbered(names, names))

    def _load(self, path: str, overrides: Mapping[str, Any]) -> Spec:
        """Load a spec, whose file is read once."""
        try:
            if path not in self.files:
                file = find_spec(path)
                self.files[path] = read_document(file.read_bytes(), str(file)).data
            return load_spec(self.files[path], overrides, self.registry)
        except (LipflowError, OSError, TypeError):
            return load_spec(path, overrides, self.registry)  # which tells the place of what is wrong

    def _asked(self, blueprint: Blueprint, task: Task) -> Blueprint:
        """Plan a system's spec with a task's changes; once for all trainings."""
        if not task.set and task.likelihood:
            return blueprint
        spec = blueprint.spec
        key = digest([spec.model_dump(mode="json", exclude={"training", "seed"}), task.name, blueprint.device], 32)
        if key not in self.asked:
            self.asked[key] = self._changed(blueprint, task)
        return self.asked[key]

    def _changed(self, blueprint: Blueprint, task: Task) -> Blueprint:
        spec = blueprint.spec
        changed = load_spec(spec.model_dump(mode="json"), task.set, self.registry)
        asked = plan(changed, devices=(blueprint.device,))
        if task.likelihood:
            return asked
        kept = tuple(term.part for term in asked.objectives if "prior" not in term.plan.needs)
        if asked.objectives and not kept:
            named = ", ".join(f"'{term.part.name}'" for term in asked.objectives)
            raise SpecError(
                f"task '{task.name}' fits without the objectives that ask the prior, but there is no other: {named}",
                "Name one that compares with the target, or leave out likelihood: false.",
            )
        fitting = changed.fitting.model_copy(update={"objectives": kept})
        return plan(changed.model_copy(update={"fitting": fitting}), devices=(blueprint.device,))

    def _training(self, blueprint: Blueprint, label: str) -> Cell:
        """Plan the cells that train a spec, stage by stage; give the last."""
        spec = blueprint.spec
        capture = self._capture(spec.capture)
        needs = {"capture": capture.name}
        for stages in range(1, len(spec.training.stages) + 1):
            prefix = prefix_of(blueprint, stages, self.registry, blueprint.device)
            last = len(spec.training.stages) > 1
            cell = self._add(
                Cell(
                    kind="train",
                    what=training_key(prefix),
                    data=self._identity(spec.capture),
                    how=self._how([*used_parts(prefix.spec), *parts_of(prefix.spec.training)], blueprint),
                    needs=needs,
                    options={"spec": prefix.spec.model_dump(mode="json")},
                    label=f"train {label}" + (f" stage {stages}" if last else ""),
                    limit=self.grid.limits.train,
                )
            )
            needs = {"capture": capture.name, "after": cell.name}
        return cell

    def _scoring(self, model: Cell, asked: Blueprint, task: Task, label: str) -> Cell:
        """Plan the cells that choose, fit and score; give the last."""
        spec = asked.spec
        data = spec.model_dump(mode="json", include={"fitting", "evaluation", "capture", "renderer"})
        fitting, evaluation = {**data["fitting"]}, data["evaluation"]
        evaluation["codes"] = ["posterior", "start", *(["fitted"] if task.score == "fitted" else [])]
        grid = fitting.pop("grid")
        frames = {"split": task.split, "renderer": data["renderer"]}
        frames |= {name: evaluation[name] for name in ("frames", "whole_segments")}
        capture = self._capture(spec.capture)
        used = [*used_parts(spec), *parts_of(spec.fitting)]
        common = {"data": self._identity(spec.capture), "how": self._how(used, asked), "options": {"spec": data}}
        needs = {"capture": capture.name, "model": model.name}
        if task.score == "fitted" and grid is not None:
            chosen = self._add(
                Cell(
                    kind="choose",
                    # A grid is tried on each frame alone, so that no temporal prior matters.
                    what={**frames, "fitting": {**fitting, "temporal": None}, "grid": grid, "view": asked.view}
                    | {"metric": evaluation["metrics"][0]},
                    needs=needs,
                    label=f"choose {label}",
                    limit=self.grid.limits.choose,
                    **{**common, "how": self._how([p for p in used if p.kind != "temporal"], asked)},
                )
            )
            needs = {**needs, "chosen": chosen.name}
        if task.score == "fitted":
            fitted = self._add(
                Cell(
                    kind="fit",
                    what={**frames, "fitting": fitting},
                    needs=needs,
                    label=f"fit {label}",
                    limit=self.grid.limits.fit,
                    **common,
                )
            )
            needs = {"capture": capture.name, "model": model.name, "fitted": fitted.name}
        used += parts_of(spec.evaluation)
        # Q's code and the start of the fit are scored together, so that tasks without a fit share a cell.
        what = {**frames, "evaluation": evaluation, "view": asked.view}
        what |= {"start": fitting["start"], "prior": fitting["prior"], "batch": fitting["batch"]}
        return self._add(
            Cell(
                kind="score",
                what=what,
                needs=needs,
                label=f"score {label}",
                limit=self.grid.limits.score,
                **{**common, "how": self._how(used, asked)},
            )
        )

    def _capture(self, part: Part) -> Cell:
        return self._add(
            Cell(
                kind="capture",
                what={},
                data=self._identity(part),
                how={"code": code_of([part, *parts_of(part.config)], self.registry)},
                options={"capture": part.as_data()},
                label=f"capture {_subject(part, self._identity(part))}",
                limit=self.grid.limits.capture,
            )
        )

    def _add(self, cell: Cell) -> Cell:
        return self.cells.setdefault(cell.name, cell)

    def _identity(self, part: Part) -> str:
        """Give the identity of a capture, each built once."""
        key = json.dumps(part.as_data(), sort_keys=True)
        if key not in self.identities:
            self.identities[key] = part.build(CaptureInputs()).identity
        return self.identities[key]

    def _how(self, parts: Sequence[Part], blueprint: Blueprint) -> dict[str, dict[str, Any]]:
        import torch

        # A spec's threads count where it is trained; fits and scores take the grid's.
        threads = self.grid.execution.threads
        numerics = {"torch": torch.__version__, "device": blueprint.device, "threads": threads}
        key = json.dumps(sorted({(part.kind, part.spelling or part.name) for part in parts}))
        if key not in self.versions:
            self.versions[key] = code_of(parts, self.registry)
        return {"numerics": numerics, "code": self.versions[key]}

    def _note(self, where: str, key: str, error: LipflowError) -> None:
        # The same mistake at every point of the axes is told once.
        self.problems.setdefault(f"{key}: {error.message}", type(error)(f"{where}: {error.message}", error.hint))

    def _error(self) -> LipflowError:
        found = list(self.problems.values())
        text = "\n".join(map(str, found))
        kind = type(found[0]) if len({type(error) for error in found}) == 1 else SpecError
        kind = PluginError if all(isinstance(error, PluginError) for error in found) else kind
        return kind((f"{len(found)} problems:\n" if len(found) > 1 else "") + text)


def _points(axes: Mapping[str, Sequence[Any]]) -> Iterator[dict[str, Any]]:
    for values in product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def _at(point: Mapping[str, Any]) -> str:
    return " ".join(f"{axis}={as_text(value)}" for axis, value in point.items())


def _subject(part: Part, identity: str) -> str:
    """Name whom a capture shows, by the options that name a subject or a folder; by its identity if none does."""
    options = part.config.model_dump(mode="json")
    named = next((str(options[key]) for key in ("subject", "path") if options.get(key)), "")
    return named.rstrip("/").rpartition("/")[2] or identity
