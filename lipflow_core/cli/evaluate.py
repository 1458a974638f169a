"""`lipflow-core evaluate`: fit held-out frames with trained models and score them in one table."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipflow_core.progress import Style


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("models", metavar="MODEL", nargs="+", help="model directories, as training leaves them")
    # Listed for the usage line: `models` takes them all.
    parser.add_argument(
        "overrides", metavar="KEY=VALUE", nargs="*", default=[], help="options to change in every model's spec"
    )
    parser.add_argument(
        "--out", metavar="DIR", help="folder for scores, codes and pictures; finished models in it are kept"
    )
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--count", metavar="N", type=int, help="number of frames, evenly spread over the split")
    which.add_argument(
        "--frames", metavar="WHICH", help="such as 0:32, 0:320:10, SEGMENT or SEGMENT/NUMBER,… instead of a count"
    )
    parser.add_argument("--split", default="held-out", help="split of the capture (default: held-out)")
    parser.add_argument(
        "--without-likelihood", action="store_true", help="fit a second time without the prior's likelihood"
    )
    parser.add_argument("--force", action="store_true", help="evaluate finished models again")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="show no progress")
    shown.add_argument("--json", action="store_true", help="print the scores as JSON, and no progress")


def run(args: argparse.Namespace) -> int:
    """Evaluate, and print the table of scores."""
    from pathlib import Path

    from lipflow_core.cli.fit import print_choice
    from lipflow_core.errors import UsageError
    from lipflow_core.evaluation.evaluate import evaluate
    from lipflow_core.evaluation.folder import EVALUATION
    from lipflow_core.progress import hushed
    from lipflow_core.tables import counted, printable

    # A folder may well be called "lr=0.1".
    given = [*args.models, *args.overrides]
    models = [argument for argument in given if "=" not in argument or Path(argument).is_dir()]
    if not models:
        raise UsageError("no model given", hint="name one or more model directories, as training leaves them")
    style: Style = "none" if args.quiet or args.json else "auto"
    with hushed(style):
        evaluation = evaluate(
            models,
            count=args.count,
            frames=args.frames,
            split=args.split,
            out=args.out,
            overrides=[argument for argument in given if argument not in models],
            without_likelihood=args.without_likelihood,
            force=args.force,
            style=style,
        )
    if args.json:
        print(evaluation.json_text(), end="")
        return 0
    print(evaluation.table())
    if calibration := evaluation.calibration_table():
        print(f"\n{calibration}")
    compared = counted(len(evaluation.models[0].frames), f"{evaluation.split} frame")
    print(f"\n{compared}, pictures compared in '{evaluation.view}'")
    for model in evaluation.models:
        for code, choice in model.grid.items():
            print_choice(choice, f"{printable(model.name)}, {code}: ")
        for note in model.notes():
            print(printable(note, lines=False))
    if args.out:
        print(f"written to {args.out}/{EVALUATION}; see it with: lipflow-core report {args.out} --out report.html")
    return 0
