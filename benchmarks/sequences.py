"""Jitter against error of fits to a sequence whose cameras are displaced anew in each frame, by temporal prior.

    python benchmarks/sequences.py --models dam=runs/dam lip-flow-hmc=runs/lip-flow-hmc --frames 160

The fits are those of task `perturbed-sequence`: whole segments, headset pictures, cameras off by 2 degrees and 2 mm in
another way in each frame, and the task's grid for learning rate and latent weight, which is searched frame by frame.
Each temporal prior is given as SPACE:WEIGHT, a random walk whose energy has this weight. "alone" fits frame by frame,
"start" is the code that fits start from, and "truth" has the jitter of the tracked surface. A model of several subjects
is named several times: NAME=FOLDER NAME=FOLDER2 gives one row, the mean over subjects. Scores are means over frames:
jitter and Geom in millimetres, PSNR in dB. Processor time is that of this process, on one thread.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from typing import Any

import torch

import lipflow_core
from lipflow_core.ablation.grid import load_task
from lipflow_core.avatar import Avatar
from lipflow_core.evaluation.frames import frames_to_score
from lipflow_core.fitting import choose, first_codes, fit
from lipflow_core.interfaces import Metric
from lipflow_core.records import Frame
from lipflow_core.scoring import build_metrics, neighbouring, score
from lipflow_core.selection import spread
from lipflow_core.specs.model import Fitting
from lipflow_core.splits import load_frames, open_capture, open_split
from lipflow_core.tables import table

SHOWN = ("jitter", "psnr", "geom", "millimetres")
WALKS = ("alone", "code:0.05", "base:0.05")


def main() -> None:
    """Fit all models with all temporal priors, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", required=True, metavar="NAME=FOLDER", help="trained models")
    parser.add_argument("--temporal", nargs="+", default=list(WALKS), metavar="SPACE:WEIGHT", help="temporal priors")
    parser.add_argument("--frames", type=int, default=160, help="largest number of frames of whole segments")
    parser.add_argument("--set", nargs="*", default=[], metavar="KEY=VALUE", help="changes to the spec of the fit")
    args = parser.parse_args()
    torch.set_num_threads(1)
    found: dict[tuple[str, str], list[list[float]]] = {}
    for named in args.models:
        name, _, folder = named.partition("=")
        asked = [f"{option}={json.dumps(value)}" for option, value in load_task("perturbed-sequence").set.items()]
        opened = lipflow_core.open_model(folder, overrides=[*asked, *args.set])
        avatar, spec = opened.avatar, opened.spec
        split = open_split(open_capture(opened.blueprint), "held-out")
        chosen = frames_to_score(split, args.frames, whole_segments=True)
        frame = load_frames(split, chosen, ["headset", "frontal", "face"])
        metrics = build_metrics(avatar, spec.evaluation.metrics)
        tried = (
            frame.rows(torch.from_numpy(spread(spec.fitting.grid.frames, len(frame)))) if spec.fitting.grid else frame
        )
        chosen = choose(avatar, tried, spec.fitting, metric=metrics["psnr"])
        print(named, "chose", "nothing" if chosen is None else chosen.describe(), flush=True)
        start = first_codes(avatar, frame, spec.fitting)
        starts = _scores(avatar, start, frame, metrics, spec.fitting.batch)
        found.setdefault((name, "truth"), []).append([_jitter(frame), *[math.nan] * len(SHOWN)])
        found.setdefault((name, "start"), []).append([*starts, math.nan])
        for walk in args.temporal:
            options = _with(spec.fitting, walk)
            begun = time.process_time()
            result = fit(avatar, frame, options, chosen=chosen)
            seconds = time.process_time() - begun
            means = _scores(avatar, result.codes, frame, metrics, spec.fitting.batch)
            found.setdefault((name, walk), []).append([*means, 1000 * seconds / len(frame)])
            print(named, walk, [round(value, 4) for value in means], round(seconds, 1), flush=True)
    rows = []
    for (name, walk), subjects in found.items():
        means = torch.tensor(subjects, dtype=torch.float64).mean(dim=0).tolist()
        shown = [f"{value:.{digits}f}" for value, digits in zip(means, (3, 2, 4, 3, 0), strict=True)]
        rows.append((name, walk, *shown))
    print(table(("model", "temporal", "jitter", "PSNR", "Geom", "mm", "ms a frame"), rows, left=2))


def _with(fitting: Fitting, walk: str) -> Fitting:
    space, _, weight = walk.partition(":")
    temporal: Any = None if walk == "alone" else {"type": "random-walk", "space": space, "weight": float(weight)}
    return Fitting.model_validate({**fitting.model_dump(mode="json"), "temporal": temporal})


def _scores(avatar: Avatar, codes: torch.Tensor, frame: Frame, metrics: dict[str, Metric], batch: int) -> list[float]:
    around = neighbouring(codes, frame.segments, frame.numbers.tolist())
    parts = [
        score(avatar, codes[rows], frame.rows(rows), metrics, neighbours=around[rows])[0]
        for rows in torch.arange(len(codes)).split(batch)
    ]
    return [float(torch.cat([part[name] for part in parts]).double().nanmean()) for name in SHOWN]


def _jitter(frame: Frame) -> float:
    """Compute the mean second difference of the tracked vertices, over frames that have both neighbours."""
    flat = frame["face"].vertices.flatten(1)
    around = neighbouring(flat, frame.segments, frame.numbers.tolist())
    second = (around.sum(dim=1) - 2 * flat).unflatten(1, (-1, 3)).norm(dim=2).mean(dim=1)
    return float(second.double().nanmean())


if __name__ == "__main__":
    main()
