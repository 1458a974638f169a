"""Quality against cost of fitting's optimizers: objective and PSNR against evaluations and processor seconds.

    python benchmarks/optimizers.py --model runs/lip-flow-hmc --out optimizers

Each optimizer is run anew for each number of steps, since the best code is kept: a point of a curve is a whole fit. The
objective is the mean over frames of the lowest total loss. In task "moved headset" the headset's cameras are turned by
3 degrees and moved by 8 mm, another way in each frame, and the pose is fitted. "Decodings" are all codes
that are decoded for a frame, those of Gauss-Newton matrices included, which need no gradient. Processor time is that of
this process, on one thread. A table tells what each optimizer takes to reach the objective at which the first one ends.
The curves are written as optimizers.json and optimizers.png into --out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

import lipflow_core
from lipflow_core.avatar import Avatar
from lipflow_core.fitting import fit
from lipflow_core.records import Frame
from lipflow_core.scoring import default_metric, score
from lipflow_core.selection import spread
from lipflow_core.specs.model import Fitting
from lipflow_core.splits import load_frames, open_capture, open_split
from lipflow_core.tables import table

LIKELIHOOD = {"type": "latent-likelihood", "weight": 0.01}
PICTURES = {"type": "photometric", "target": "headset", "exposure": "affine"}
TASKS: Mapping[str, Mapping[str, Any]] = {
    "keypoints": {"objectives": ["keypoint", LIKELIHOOD]},
    "pictures": {"objectives": [PICTURES, LIKELIHOOD]},
    "moved headset": {
        "objectives": [PICTURES, LIKELIHOOD],
        "pose": {},
        "perturbation": {"degrees": 3, "millimetres": 8},
    },
}
METHODS: Mapping[str, Mapping[str, Any]] = {
    "adam": {"optimizer": "adam"},
    "adam, base space": {"optimizer": "adam", "space": "base"},
    "lbfgs": {"optimizer": "lbfgs"},
    "lbfgs, base space": {"optimizer": "lbfgs", "space": "base"},
    "levenberg-marquardt": {"optimizer": "levenberg-marquardt"},
}
STEPS = (2, 4, 8, 12, 16, 24, 32, 48, 100, 200)


@dataclass(frozen=True)
class Point:
    """A whole fit: its largest number of steps, mean steps made, what it cost for each frame, and what it reached."""

    task: str
    optimizer: str
    limit: int
    steps: float
    decodings: float
    seconds: float
    objective: float
    psnr: float


def main() -> None:
    """Measure all curves, print the table, and write the files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="model directory of a trained lip-flow-hmc")
    parser.add_argument("--optimizers", nargs="+", default=list(METHODS), choices=list(METHODS))
    parser.add_argument("--tasks", nargs="+", default=list(TASKS), choices=list(TASKS))
    parser.add_argument("--frames", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("optimizers"))
    args = parser.parse_args()
    torch.set_num_threads(1)
    opened = lipflow_core.open_model(args.model)
    split = open_split(open_capture(opened.blueprint), "held-out")
    frame = load_frames(split, spread(args.frames, len(split)), ["keypoints", "headset", "frontal", "face"])
    points = [
        point
        for task in args.tasks
        for optimizer in args.optimizers
        for point in _curve(opened.avatar, frame, task, optimizer)
    ]
    args.out.mkdir(parents=True, exist_ok=True)
    (args.out / "optimizers.json").write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n")
    _draw(points, args.out / "optimizers.png")
    print(_summary(points, args.tasks, args.optimizers))


def _curve(avatar: Avatar, frame: Frame, task: str, optimizer: str) -> Iterator[Point]:
    metric = default_metric(avatar)
    fit(avatar, frame, Fitting.model_validate({**TASKS[task], **METHODS[optimizer], "steps": 1}))  # compiles kernels
    for limit in STEPS:
        options = Fitting.model_validate({**TASKS[task], **METHODS[optimizer], "steps": limit, "batch": len(frame)})
        with _decodings(avatar) as decoded:
            before = time.process_time()
            result = fit(avatar, frame, options)
            seconds = time.process_time() - before
        scores, _ = score(avatar, result.codes, frame, {"psnr": metric})
        point = Point(
            task=task,
            optimizer=optimizer,
            limit=limit,
            steps=float(result.steps.double().mean()),
            decodings=sum(decoded) / len(frame),
            seconds=seconds / len(frame),
            objective=float(result.losses.double().mean()),
            psnr=float(scores["psnr"].mean()),
        )
        print(point, file=sys.stderr, flush=True)
        yield point
        if int(result.steps.max()) < limit:
            return


@contextmanager
def _decodings(avatar: Avatar) -> Iterator[list[int]]:
    """Count the codes that are decoded."""
    counted: list[int] = []
    decode, geometry = avatar.decoder.decode, avatar.decoder.geometry
    avatar.decoder.decode = lambda code, direction: counted.append(len(code)) or decode(code, direction)
    avatar.decoder.geometry = lambda code: counted.append(len(code)) or geometry(code)
    try:
        yield counted
    finally:
        del avatar.decoder.decode, avatar.decoder.geometry


def _summary(points: list[Point], tasks: list[str], optimizers: list[str]) -> str:
    rows = []
    for task in tasks:
        curves = {name: [p for p in points if (p.task, p.optimizer) == (task, name)] for name in optimizers}
        first = curves[optimizers[0]][-1]
        for name, curve in curves.items():
            last, reached = curve[-1], next((p for p in curve if p.objective <= first.objective), None)
            there = ("never",) * 3
            if reached is not None:
                times = f"{first.seconds / reached.seconds:.1f} ×"
                there = (f"{reached.steps:.0f}", f"{1000 * reached.seconds:.0f}", times)
            end = (f"{last.steps:.0f}", f"{last.decodings:.0f}", f"{1000 * last.seconds:.0f}")
            rows.append((task, name, *end, f"{last.objective:.4f}", f"{last.psnr:.2f}", *there))
    head = ("task", "optimizer", "steps", "decodings", "ms", "objective", "PSNR", "steps to first's", "ms", "faster")
    return table(head, rows, left=2)


def _draw(points: list[Point], path: Path) -> None:
    """Draw objective and PSNR against steps and processor time, a row of charts for each task."""
    import altair

    data = altair.Data(values=[asdict(point) for point in points])

    def chart(task: str, cost: str, quality: str, title: str) -> altair.Chart:
        return (
            altair.Chart(data, width=260, height=170, title=task)
            .mark_line(point={"size": 18})
            .encode(
                x=altair.X(f"{cost}:Q", title=title).scale(type="log", nice=False),
                y=altair.Y(f"{quality}:Q", title=quality).scale(
                    zero=False, nice=False, type="log" if quality == "objective" else "linear"
                ),
                color=altair.Color("optimizer:N"),
            )
            .transform_filter(altair.datum.task == task)
        )

    costs = {"steps": "steps (evaluations with gradient)", "seconds": "processor seconds a frame"}
    tasks = dict.fromkeys(point.task for point in points)
    charts = [
        altair.hconcat(
            *(chart(task, cost, quality, costs[cost]) for quality in ("objective", "psnr") for cost in costs)
        )
        for task in tasks
    ]
    altair.vconcat(*charts).save(path, scale_factor=1.5)


if __name__ == "__main__":
    main()
