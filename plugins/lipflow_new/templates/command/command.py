"""`lipflow-core skeleton-name`: list the arrays in a model's weights. Imported when the command is called."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the command's arguments; --registry, --disable and --debug are there already."""
    parser.add_argument("model", metavar="MODEL", help="model directory, as training leaves it")
    parser.add_argument("--json", action="store_true", help="print JSON, for scripts")


def run(args: argparse.Namespace) -> int:
    """Print a row for each array and return the exit code.

    Raises:
        ModelError: If there are no weights that can be read; the user is shown its message and no traceback.
    """
    # Imported here, so that `lipflow-core skeleton-name --help` stays quick.
    import json
    from pathlib import Path

    from safetensors import SafetensorError, safe_open

    from lipflow_core.errors import ModelError
    from lipflow_core.tables import counted, table

    weights = Path(args.model) / "weights.safetensors"
    try:
        with safe_open(weights, framework="numpy") as file:
            shapes = {name: file.get_slice(name).get_shape() for name in sorted(file.keys())}
    except (OSError, SafetensorError) as error:
        raise ModelError(f"{weights} can't be read: {error}", "Give the folder that training wrote.") from error
    if args.json:
        print(json.dumps(shapes, indent=2))
        return 0
    print(table(("array", "shape"), [(name, "×".join(map(str, shape))) for name, shape in shapes.items()]))
    print(counted(len(shapes), "array"))
    return 0
