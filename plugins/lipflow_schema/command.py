"""`lipflow-core schema`: print the JSON Schema of specs, with every enabled plugin."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("--out", metavar="FILE", help="file to write instead of printing")


def run(args: argparse.Namespace) -> int:
    """Print or write the schema."""
    import json

    from lipflow_schema.schema import spec_schema

    text = json.dumps(spec_schema(), indent=2, ensure_ascii=False) + "\n"
    if args.out is None:
        print(text, end="")
        return 0
    from lipflow_core.storage import write_atomically

    write_atomically(args.out, text)
    print(f"wrote {args.out}; begin a spec with: # yaml-language-server: $schema={args.out}")
    return 0
