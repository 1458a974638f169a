"""Try many mutants: `python tests/fuzz/fuzz_run.py --count 10000`, or `make fuzz`.

They run in a process of their own, which is watched: one that uses more memory or processor time than allowed is ended
and another goes on with the next seed. A seed tells everything about a mutant; `--first` resumes.
"""

from __future__ import annotations

import argparse
import json
import os
import select
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

HERE = Path(__file__).resolve().parent


def main() -> int:
    """Try the mutants and print each that fails, with the command that repeats it."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--kind", choices=("spec", "override", "model", "capture", "result"), action="append")
    parser.add_argument("--count", type=int, default=10_000, help="mutants of each kind")
    parser.add_argument("--first", type=int, default=0, help="first seed")
    parser.add_argument("--place", type=Path, default=Path("/tmp/lipflow-fuzz"), help="folder to work in")
    parser.add_argument("--show", action="store_true", help="show what each mutant printed, and keep its folder")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    kinds = args.kind or ["spec", "override", "model", "capture", "result"]
    if args.worker:
        return _work(kinds[0], args)
    failed = 0
    for kind in kinds:
        failed += _watch(kind, args)
    return 1 if failed else 0


def _watch(kind: str, args: argparse.Namespace) -> int:
    first, failures, codes, slowest, begun = args.first, 0, Counter(), (0.0, 0), time.monotonic()
    while first < args.first + args.count:
        command = [sys.executable, __file__, "--worker", "--kind", kind, "--place", str(args.place)]
        command += ["--first", str(first), "--count", str(args.first + args.count - first), *["--show"] * args.show]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
        worker = subprocess.Popen(command, stdout=subprocess.PIPE, env=environment)
        lines, current, used = _lines(worker), None, 0.0
        for line in lines:
            if line is None:  # a moment has passed
                memory, seconds = _usage(worker.pid)
                if current is not None and (memory > 2 * 2**30 or seconds - used > 15):
                    why = f"{memory / 2**30:.1f} GB of memory, {seconds - used:.0f} s of processor time"
                    worker.kill()
                    failures += _tell(kind, current, [why], "ended by the watch", args)
                    break
                continue
            if "begun" in line:
                current, used = line["begun"], _usage(worker.pid)[1]
                continue
            codes[str(line["code"])[:4]] += 1
            slowest = max(slowest, (line["seconds"], line["seed"]))
            if args.show:
                print(line["about"], line["output"], sep="\n")
            if line["faults"]:
                failures += _tell(kind, line["seed"], line["faults"], line["about"], args)
            first = line["seed"] + 1
        if worker.wait() and first < args.first + args.count:
            if current is None:
                raise SystemExit("the worker did not start")
            if current >= first and worker.returncode != -9:
                failures += _tell(kind, current, [f"the process ended with {worker.returncode}"], "", args)
            first = max(first, current + 1)
    codes_said = ", ".join(f"{count} × exit {code}" for code, count in sorted(codes.items()))
    print(
        f"{kind}: seeds {args.first}…{first - 1}, {failures} failed; {codes_said}; slowest {slowest[0]:.1f} s "
        f"(seed {slowest[1]}); {time.monotonic() - begun:.0f} s in all",
        flush=True,
    )
    return failures


def _tell(kind: str, seed: int, faults: list[str], about: str, args: argparse.Namespace) -> int:
    print(f"FAILED {kind} {seed}: {about}")
    for fault in faults:
        print("  " + fault.replace("\n", "\n  ")[-1800:])
    print(f"  again: python tests/fuzz/fuzz_run.py --kind {kind} --first {seed} --count 1 --show", flush=True)
    return 1


def _lines(worker: subprocess.Popen):
    """What a worker writes, a line each; None whenever it has been silent for a moment."""
    pending = b""
    while True:
        if not select.select([worker.stdout], [], [], 0.2)[0]:
            yield None
            continue
        data = os.read(worker.stdout.fileno(), 1 << 20)
        if not data:
            return
        *whole, pending = (pending + data).split(b"\n")
        yield from map(json.loads, whole)


def _usage(pid: int) -> tuple[int, float]:
    """Memory in bytes and processor time in seconds of a process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0, 0.0
    return int(fields[21]) * os.sysconf("SC_PAGE_SIZE"), (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _work(kind: str, args: argparse.Namespace) -> int:
    os.environ["LIPFLOW_CORE_CACHE"] = str(args.place / "cache")
    from fuzz_materials import make
    from fuzz_verdict import CODES, try_mutant

    materials = make(args.place / "materials")
    results = os.fdopen(os.dup(1), "w")
    for seed in range(args.first, args.first + args.count):
        print(json.dumps({"begun": seed}), file=results, flush=True)
        outcome = try_mutant(kind, seed, materials, args.place / f"{kind}-{seed}")
        print(json.dumps({"seed": seed, **vars(outcome)}), file=results, flush=True)
        if outcome.code not in CODES:  # whatever was interrupted may be half done
            return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
