"""`lipflow-core assemble`: check a spec, plan its model and build it."""

from __future__ import annotations

import argparse
import sys

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any

    from lipflow_core.planning import PlannedPart
    from lipflow_core.plans import Shape


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument(
        "spec", metavar="SPEC", nargs="?", help="spec file, or name of a shipped spec; --list shows these"
    )
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="options of the spec to change, such as preset=small",
    )
    parser.add_argument("--list", action="store_true", help="list the shipped specs and stop")
    parser.add_argument("--check", action="store_true", help="check and plan only, build nothing")
    parser.add_argument("--out", metavar="DIR", help="write a model directory with freshly initialised weights")
    parser.add_argument("--json", action="store_true", help="print the parts as JSON")
    parser.add_argument("--print-spec", action="store_true", help="print the resolved spec and stop")


def run(args: argparse.Namespace) -> int:
    """Check, plan or build, and print a row for each part."""
    if args.list:
        _list_shipped()
        return 0
    if args.spec is None:
        print("lipflow-core assemble: name a spec; --list shows the shipped ones", file=sys.stderr)
        return 2
    from lipflow_core.planning import plan
    from lipflow_core.specs import dump_spec, load_spec

    if args.out and (args.check or args.print_spec):
        print("lipflow-core assemble: --out builds the model; leave out --check and --print-spec", file=sys.stderr)
        return 2
    spec = load_spec(args.spec, args.overrides)
    if args.print_spec:
        print(dump_spec(spec), end="")
        return 0
    if args.check:
        blueprint = plan(spec)
        stages = (term for terms in blueprint.stage_objectives.values() for term in terms)
        temporal = () if blueprint.temporal is None else (blueprint.temporal,)
        fitted = (*blueprint.objectives, blueprint.optimizer, *temporal)
        planned = (*blueprint.distinct(), *stages, *fitted, *blueprint.metrics)
        _print(args, spec.name, _rows(planned))
        return 0

    if args.out:
        from lipflow_core.model_directory import check_place

        check_place(args.out)  # before a capture is made for it
    from lipflow_core.assembly import blank_template, build, on_device, usable_devices
    from lipflow_core.measuring import measure
    from lipflow_core.plans import CaptureInputs

    blueprint = plan(on_device(spec, None), devices=usable_devices())
    # Only a model that is kept needs the subject's own template, for which the capture may have to be made first.
    template = spec.capture.build(CaptureInputs()).template() if args.out else blank_template(blueprint)
    avatar = build(blueprint, template)
    sizes = measure(avatar, blueprint)
    rows = [{**row, **vars(sizes[row["slot"]])} for row in _rows(blueprint.distinct()) if row["slot"] in sizes]
    if args.out:
        from lipflow_core.model_directory import save_model

        save_model(avatar, spec, args.out)
    _print(args, spec.name, rows)
    if args.out and not args.json:
        print(f"wrote {args.out}")
    return 0


def _list_shipped() -> None:
    """Print the name of each shipped spec and the first sentence of the comment that it opens with."""
    from itertools import takewhile

    from lipflow_core.shipped import shipped
    from lipflow_core.tables import table

    rows = []
    for file in sorted(shipped("specs").glob("*.yaml"), key=lambda file: file.stem):
        lines = file.read_text(encoding="utf-8").splitlines()
        comment = " ".join(line.lstrip("# ") for line in takewhile(lambda line: line.startswith("#"), lines))
        rows.append((file.stem, comment.partition(". ")[0]))
    print(table(("spec", "is"), rows))
    print("Each is trained by: lipflow-core train NAME preset=small --out DIR")


def _rows(parts: Iterable[PlannedPart]) -> list[dict[str, Any]]:
    """Describe each part and the flow within it."""
    from lipflow_core.registry import default_registry

    entries = []
    for planned in parts:
        entries.append((planned.slot, planned.part, planned.plan))
        if "flow" in planned.plan.parts:
            entries.append((f"{planned.slot}.flow", planned.given.flow, planned.plan.parts["flow"]))
    return [
        {
            "slot": slot,
            "kind": part.kind,
            "component": part.name,
            "plugin": part.distribution,
            "version": default_registry().version(part.component),
            "inputs": dict(plan.inputs),
            "outputs": dict(plan.outputs),
        }
        for slot, part, plan in entries
    ]


def _print(args: argparse.Namespace, name: str, rows: list[dict[str, Any]]) -> None:
    if args.json:
        import json

        print(json.dumps({"name": name, "parts": rows}, indent=2, ensure_ascii=False))
        return
    from lipflow_core.tables import table

    header = ["slot", "component", "plugin", "in → out"]
    built = "parameters" in rows[0]
    if built:
        header[3:3] = ["parameters", "MACs", "device"]
    print(table(header, [_cells(row, built) for row in rows]))
    if built:
        # What is nested in a part is counted in it.
        whole = [row for row in rows if not row["slot"].endswith(".flow")]
        print(f"{name}: {_count(sum(row['parameters'] for row in whole))} parameters")
    else:
        print(f"{name}: the parts fit together; nothing was built")


def _cells(row: dict[str, Any], built: bool) -> list[str]:
    version = row["version"][:14]
    shapes = f"{_shapes(row['inputs'])} → {_shapes(row['outputs'])}"
    counts = [_count(row["parameters"]), _count(row["macs"]), row["device"]] if built else []
    return [row["slot"], f"{row['kind']} {row['component']}", f"{row['plugin']} {version}", *counts, shapes]


def _shapes(shapes: Mapping[str, Shape]) -> str:
    return ", ".join(f"{name} {'×'.join(map(str, shape)) or '1'}" for name, shape in shapes.items()) or "–"


def _count(number: int | None) -> str:
    """Three digits and a unit, as in the paper's Table 10: 30.7 M."""
    if number is None:
        return "–"
    for power, unit in ((9, "G"), (6, "M"), (3, "k")):
        if number >= 10**power:
            return f"{number / 10**power:.3g} {unit}"
    return str(number)
