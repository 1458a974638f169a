"""How long the command line takes to start, against Python itself.

    python benchmarks/cli.py

Runs `python -c pass` and some commands in turn, many times, and compares medians of the processor time, so that other
work on the machine bears on all alike. Bytecode is cached, as it is for every user, but in a temporary folder.
"""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

AIMS = {"lipflow-core --help": 8.0, "lipflow-core plugins list": 8.0, "lipflow-core train --help": 3.0}
HEAVY = ("torch", "numpy", "pydantic")


def main() -> int:
    """Measure and print; return 1 if an aim is missed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=40, help="times that each command runs (default: 40)")
    rounds = parser.parse_args().rounds

    script = Path(sys.executable).with_name("lipflow-core")
    program = str(script) if script.exists() else shutil.which("lipflow-core")
    if program is None:
        sys.exit("lipflow-core is not installed in this environment: pip install -e .")
    commands = {
        "python -c pass": [sys.executable, "-c", "pass"],
        "lipflow-core --help": [program, "--help"],
        "lipflow-core plugins list": [program, "plugins", "list"],
        "lipflow-core train --help": [program, "train", "--help"],
    }
    times: dict[str, list[float]] = {name: [] for name in commands}
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": cache}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        for turn in range(rounds + 2):
            for name, command in commands.items():
                start = resource.getrusage(resource.RUSAGE_CHILDREN)
                subprocess.run(command, stdout=subprocess.DEVNULL, env=environment, check=True)
                end = resource.getrusage(resource.RUSAGE_CHILDREN)
                if turn >= 2:  # the first two fill the caches of bytecode and disk
                    times[name].append(end.ru_utime + end.ru_stime - start.ru_utime - start.ru_stime)
    base = statistics.median(times["python -c pass"])
    print(f"{'command':<28}{'median ms':>10}{'ratio':>8}{'aim':>8}   imports")
    missed = False
    for name, command in commands.items():
        median, aim = statistics.median(times[name]), AIMS.get(name)
        missed |= aim is not None and median / base > aim
        said = f"≤ {aim:.0f}" if aim else ""
        print(f"{name:<28}{1000 * median:>10.1f}{median / base:>8.2f}{said:>8}   {heavy_imports(command) or '-'}")
    return int(missed)


def heavy_imports(command: list[str]) -> str:
    """List the heavy packages that a command imports."""
    arguments = command[1:] if command[0] == sys.executable else command
    traced = [sys.executable, "-X", "importtime", *arguments]
    result = subprocess.run(traced, capture_output=True, text=True, check=True)
    imported = {line.rpartition("|")[2].strip() for line in result.stderr.splitlines()}
    return ", ".join(name for name in HEAVY if name in imported)


if __name__ == "__main__":
    sys.exit(main())
