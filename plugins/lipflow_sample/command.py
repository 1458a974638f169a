"""`lipflow-core sample`: draw samples from a trained model's prior."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments."""
    parser.add_argument("model", metavar="MODEL", help="model directory, as training leaves it")
    parser.add_argument(
        "overrides",
        metavar="KEY=VALUE",
        nargs="*",
        default=[],
        help="options of the spec to change, such as preset=small",
    )
    parser.add_argument("--out", metavar="DIR", required=True, help="folder for codes.safetensors and samples.png")
    parser.add_argument("--count", metavar="N", type=int, default=16, help="number of faces (default: 16)")
    parser.add_argument("--seed", metavar="N", type=int, default=0, help="seed of the codes (default: 0)")
    parser.add_argument(
        "--frame", metavar="WHICH", default="0", help="frame that conditions the prior: a position or SEGMENT/NUMBER"
    )
    parser.add_argument("--split", default="held-out", help="split of that frame (default: held-out)")
    parser.add_argument("--json", action="store_true", help="print what was written as JSON")


def run(args: argparse.Namespace) -> int:
    """Draw, and print where the picture is."""
    from lipflow_sample.sampling import sample_model

    written = sample_model(
        args.model,
        args.out,
        count=args.count,
        seed=args.seed,
        frame=args.frame,
        split=args.split,
        overrides=args.overrides,
    )
    if args.json:
        print(written.json_text(), end="")
    else:
        print(f"drew {written.count} samples from {written.prior}: {written.picture}")
    return 0
