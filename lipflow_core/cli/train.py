"""`lipflow-core train`: train a spec's model on its capture."""

from __future__ import annotations

import argparse
import sys


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("spec", metavar="SPEC", help="spec file, or name of a shipped spec (see assemble --list)")
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="options of the spec to change, such as preset=small",
    )
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder of the run, which becomes a model directory"
    )
    parser.add_argument("--resume", action="store_true", help="continue the run in DIR, or start it if there is none")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="show no progress")
    shown.add_argument("--json", action="store_true", help="print the result as JSON, and no progress")


def run(args: argparse.Namespace) -> int:
    """Train, and print how each stage ended."""
    import json

    from lipflow_core.progress import progress
    from lipflow_core.specs import load_spec

    spec = load_spec(args.spec, args.overrides)

    from lipflow_core.training import train
    from lipflow_core.training.launch import is_first_process

    steps = sum(stage.steps for stage in spec.training.stages)
    style = "none" if args.quiet or args.json or not is_first_process() else "auto"
    with progress(steps, f"train {spec.name}", "step", style=style, held=True) as bar:
        result = train(spec, args.out, resume=args.resume, progress=bar)
    if not is_first_process():
        return 0
    if args.json:
        print(json.dumps({"path": str(result.path), **result.summary.model_dump(mode="json")}, indent=2))
        return 0
    for stage in result.stages:
        skipped = f", {stage.skipped} skipped" if stage.skipped else ""
        early = ", stopped early" if stage.stopped_early else ""
        print(
            f"stage {stage.name}: held-out loss {stage.held_out:.4g} at step {stage.best_step} "
            f"of {stage.steps}{early}{skipped}"
        )
        for warning in stage.warnings:
            print(f"warning: {warning}", file=sys.stderr)
    print(f"trained {spec.name} in {result.summary.seconds:.0f} s: {result.path}")
    return 0
