"""`lipflow-core drive`: predict faces from a folder of headset pictures."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="model directory, as training leaves it")
    parser.add_argument("folder", metavar="FOLDER", help="pictures FOLDER/VIEW/FRAME.png, and cameras.json if there is")
    parser.add_argument(
        "overrides", metavar="KEY=VALUE", nargs="*", default=[], help="options to change, such as renderer=torch"
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for codes, meshes and pictures")
    parser.add_argument(
        "--views", metavar="A,B,…", help="folders of the views in the model's order (default: right-eye,left-eye,mouth)"
    )
    parser.add_argument(
        "--size", metavar="PIXELS", type=int, default=256, help="height and width of the pictures drawn (default: 256)"
    )
    parser.add_argument("--no-meshes", action="store_true", help="write no .obj files")
    parser.add_argument("--no-pictures", action="store_true", help="write no pictures")
    shown = parser.add_mutually_exclusive_group()
    shown.add_argument("--quiet", action="store_true", help="show no progress")
    shown.add_argument("--json", action="store_true", help="print the content of drive.json, and no progress")


def run(args: argparse.Namespace) -> int:
    """Predict, and print where the results are."""
    from lipflow_core.progress import hushed
    from lipflow_core.tables import counted, printable
    from lipflow_drive.driving import CODES, drive

    style = "none" if args.quiet or args.json else "auto"
    with hushed(style):
        done = drive(
            args.model,
            args.folder,
            args.out,
            views=None if args.views is None else args.views.split(","),
            size=args.size,
            meshes=not args.no_meshes,
            pictures=not args.no_pictures,
            overrides=args.overrides,
            style=style,
        )
    if args.json:
        print(done.json_text(), end="")
        return 0
    print(f"predicted {counted(len(done.frames), 'frame')} with {printable(done.name)}: {args.out}/{CODES}")
    for note in done.notes:
        print(printable(note, lines=False))
    return 0
