"""`lipflow-core capture pack`: make the packed cache of a capture on disk."""

from __future__ import annotations

import argparse
import os


def run(args: argparse.Namespace) -> int:
    """Pack both splits, or find that they are packed."""
    from lipflow_core.errors import CompatibilityError
    from lipflow_core.plans import CaptureInputs, Mismatch
    from lipflow_core.registry import default_registry
    from lipflow_core.specs.component import load_part
    from lipflow_core.tables import counted
    from lipflow_multiface import CAPTURE

    # With its owner: an alias or another plugin may give the bare name another meaning.
    own = {"type": f"{default_registry().distribution(CAPTURE)}:{CAPTURE.name}", "path": args.folder}
    cache = {} if args.out is None else {"cache": args.out}
    try:
        capture = load_part("capture", own | cache, args.overrides, preset=args.preset).build(CaptureInputs())
    except Mismatch as error:
        raise CompatibilityError(str(error)) from error
    packed = capture.pack(workers=args.workers or os.cpu_count() or 1, style="none" if args.quiet else "auto")
    for name, split in packed.items():
        skipped = "".join(f"; {count} left out: {reason}" for reason, count in split.skipped.items())
        print(f"{name}: {counted(len(split), 'frame')}{skipped}")
    size = sum(file.stat().st_size for file in capture.folder.rglob("*") if file.is_file())
    print(f"{capture.folder}: {size / 1e6:.1f} MB")
    there = "" if args.out is None else f", cache: {args.out}"
    print(f"read by:  capture: {{type: {CAPTURE.name}, path: {args.folder}{there}}}, at the same preset and options")
    return 0
