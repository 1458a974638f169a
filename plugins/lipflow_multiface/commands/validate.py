"""`lipflow-core capture validate`: list what is missing or wrong in a capture on disk."""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> int:
    """Print overview and findings; 6 if any of them is an error."""
    import json

    from lipflow_core.errors import CaptureError
    from lipflow_core.tables import printable, table
    from lipflow_multiface.findings import lines
    from lipflow_multiface.validation import validate

    report = validate(args.folder, deep=args.deep, workers=args.workers, style="none" if args.json else "auto")
    if args.json:
        print(json.dumps(report.as_data(), indent=1))
    else:
        print(table((report.root, ""), list(report.overview.items())))
        if report.findings:
            print()
            for line in lines(report, args.most):
                print(printable(line))
            print()
            counted = [(str(count), severity, kind) for kind, severity, count in report.counts]
            print(table(("count", "severity", "kind"), counted))
        else:
            print("nothing is missing or wrong")
    return CaptureError.exit_code if report.errors else 0
