"""`lipflow-core capture simulate | validate | overlay | pack`: write, check, show and pack captures on disk."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    from collections.abc import Callable

_PRESETS = ("tiny", "small", "medium", "paper")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the four commands and their options."""
    commands = parser.add_subparsers(title="commands", metavar="simulate | validate | overlay | pack", dest="action")
    commands.required = True

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=summary)
        added.set_defaults(action_module=f"lipflow_multiface.commands.{name}")
        return added

    simulate = add("simulate", "write a simulated capture to disk, or go on with an interrupted one")
    simulate.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="options of the simulated capture")
    simulate.add_argument("--out", metavar="DIR", required=True, help="folder to write, new or empty")
    simulate.add_argument("--capture", metavar="NAME", help="capture to simulate (default: that of registry.toml)")
    simulate.add_argument("--subject", metavar="NAME", help="its option `subject`")
    simulate.add_argument("--preset", default="paper", choices=_PRESETS, help="its sizes (default: paper)")
    simulate.add_argument("--average-only", action="store_true", help="write average textures and none of each camera")
    simulate.add_argument(
        "--obj-for-each",
        choices=("frame", "segment"),
        default="frame",
        help="write an .obj file for each frame, or for the first of each segment (default: frame)",
    )
    simulate.add_argument(
        "--workers", type=_count, default=0, metavar="N", help="number of workers (default: one per core)"
    )
    simulate.add_argument("--quiet", action="store_true", help="show no progress")

    validate = add("validate", "list what is missing or wrong in a capture, frame by frame; exit code 6 if anything is")
    validate.add_argument("folder", metavar="DIR", help="the capture's folder")
    validate.add_argument("--deep", action="store_true", help="decode every picture and read every mesh")
    validate.add_argument("--most", type=_count, default=20, metavar="N", help="findings shown of a kind (default: 20)")
    validate.add_argument("--workers", type=_count, default=4, metavar="N", help="number of threads (default: 4)")
    validate.add_argument("--json", action="store_true", help="print everything as JSON, and no progress")

    overlay = add("overlay", "draw projected meshes and keypoints over pictures, to see whether cameras are understood")
    overlay.add_argument("folder", metavar="DIR", help="the capture's folder")
    overlay.add_argument("--out", metavar="FILE.png", required=True, help="contact sheet to write")
    overlay.add_argument(
        "--frames", metavar="WHICH", help="rows: 0:32, 0:320:10, SEGMENT or SEGMENT/NUMBER,… (default: four, spread)"
    )
    overlay.add_argument("--cameras", nargs="+", metavar="NAME", help="columns (default: up to six, evenly spread)")
    overlay.add_argument(
        "--height", type=_count, default=320, metavar="PIXELS", help="height of a picture (default: 320)"
    )
    overlay.add_argument("--points-only", action="store_true", help="draw keypoints and no wireframe")

    pack = add("pack", "make the packed cache that training reads")
    pack.add_argument("folder", metavar="DIR", help="the capture's folder")
    pack.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="options of the capture, as in the spec")
    pack.add_argument("--out", metavar="PACK", help="folder of packed captures, the option `cache` of the spec")
    pack.add_argument("--preset", default="paper", choices=_PRESETS, help="sizes, as in the spec (default: paper)")
    pack.add_argument(
        "--workers", type=_count, default=0, metavar="N", help="number of threads (default: one per core)"
    )
    pack.add_argument("--quiet", action="store_true", help="show no progress")


def run(args: argparse.Namespace) -> int:
    """Run the command that was asked for."""
    from importlib import import_module

    action: Callable[[argparse.Namespace], int] = import_module(args.action_module).run
    return action(args)


def _count(text: str) -> int:
    count = int(text)
    if count < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return count
