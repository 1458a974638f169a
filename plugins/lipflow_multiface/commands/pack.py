"""`lipflow-core capture pack`: make the packed cache of a capture on disk."""

from __future__ import annotations

import argparse
import os


def run(args: argparse.Namespace) -> int:
    """Pack both splits, or find that they are packed."""
    from lipflow_core.tables import counted
    from lipflow_multiface.commands.chosen import build_capture

    options = {"path": args.folder} | ({} if args.out is None else {"cache": args.out})
    capture = build_capture("multiface", options, args.preset, args.overrides)
    packed = capture.pack(workers=args.workers or os.cpu_count() or 1, style="none" if args.quiet else "auto")
    for name, split in packed.items():
        skipped = "".join(f"; {count} left out: {reason}" for reason, count in split.skipped.items())
        print(f"{name}: {counted(len(split), 'frame')}{skipped}")
    size = sum(file.stat().st_size for file in capture.folder.rglob("*") if file.is_file())
    print(f"{capture.folder}: {size / 1e6:.1f} MB")
    cache = "" if args.out is None else f", cache: {args.out}"
    print(f"read by:  capture: {{type: multiface, path: {args.folder}{cache}}}, at the same preset and options")
    return 0
