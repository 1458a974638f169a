"""`lipflow-core report`: write a self-contained HTML report of an evaluation."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("evaluation", metavar="DIR", help="folder that `lipflow-core evaluate --out` wrote")
    parser.add_argument(
        "--out", metavar="FILE", default="report.html", help="HTML file to write (default: report.html)"
    )
    parser.add_argument("--title", metavar="TEXT", help="heading of the report")


def run(args: argparse.Namespace) -> int:
    """Write the report."""
    from lipflow_report.page import write_report

    path = write_report(args.evaluation, args.out, title=args.title)
    print(f"wrote {path} ({path.stat().st_size / 1e6:.1f} MB)")
    return 0
