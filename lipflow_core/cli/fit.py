"""`lipflow-core fit`: fit a trained model to poor observations."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lipflow_core.fitting.result import GridChoice
    from lipflow_core.progress import Style


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="model directory, as training leaves it")
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="options of the spec to change, such as fitting.steps=50",
    )
    parser.add_argument(
        "--out", metavar="DIR", required=True, help="folder for the codes; an interrupted fit in it is continued"
    )
    parser.add_argument("--frames", metavar="WHICH", help="0:32, 0:320:10, SEGMENT or SEGMENT/NUMBER,… (default: all)")
    parser.add_argument("--split", default="held-out", help="split of the capture (default: held-out)")
    parser.add_argument("--pictures", action="store_true", help="write the scored view beside each fit")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="show no progress")
    shown.add_argument("--json", action="store_true", help="print the content of fit.json, and no progress")


def run(args: argparse.Namespace) -> int:
    """Fit, and print how it went."""
    from pathlib import Path

    from lipflow_core.fitting.model_fit import CODES, fit_model
    from lipflow_core.progress import hushed
    from lipflow_core.tables import counted, printable

    style: Style = "none" if args.quiet or args.json else "auto"
    with hushed(style):
        result = fit_model(
            args.model,
            args.out,
            frames=args.frames,
            split=args.split,
            overrides=args.overrides,
            pictures=args.pictures,
            style=style,
        )
    if args.json:
        print(result.json_text(), end="")
        return 0
    steps = sum(frame.steps for frame in result.frames) / max(1, len(result.frames))
    count = counted(len(result.frames), "frame")
    print(f"fitted {count} with {printable(result.name)} in {steps:.0f} steps on average: {Path(args.out) / CODES}")
    for note in result.notes():
        print(printable(note, lines=False))
    if result.grid is not None:
        print_choice(result.grid)
    return 0


def print_choice(choice: GridChoice, who: str = "") -> None:
    """Print a line on what a grid search chose, and one if its axes should be wider."""
    print(f"{who}grid search chose {choice.describe()}")
    if choice.warning():
        print(f"{who}{choice.warning()}")
