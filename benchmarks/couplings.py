"""Which couplings train? Coupling × batch size × how ActNorm is set, on the codes of a trained model, over seeds.

    lipflow-core train dam preset=small --out runs/dam
    python benchmarks/couplings.py runs/dam --out couplings.csv

Q of the trained model is frozen and its captured frames are encoded once. For each cell, a keypoint encoder P and a
flow F are trained on L_L alone, −log p(z^q) / D with p as in LiP-Flow-KPT, by Adam without clipping of gradients, as
the paper states it. ActNorm is set either from 256 codes before the first step (`accumulated`) or, by nflows' own
ActNorm, from whatever batch comes first (`first batch`). A cell that is in the CSV file is not run again.

A run has diverged if its loss was ever not finite; the table gives where all others end. What N(0, I) and a Gaussian
fitted to all codes give is printed beside it.

    python benchmarks/couplings.py --joint lip-flow-hmc --out joint-couplings.csv

trains Q, P, F and D together instead, from the start, as `lipflow-core train` does: coupling × how ActNorm is set ×
gradients clipped or not × λ_L, at the spec's batch size. Q's entropy is not in the objective, so that codes may shrink
where F scales them up again.
"""

from __future__ import annotations

import argparse
import csv
import math
import statistics
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from joint_training import UNCLIPPED, set_norms_from_first_batch, train_jointly
from torch import Tensor, nn

import lipflow_core
from lipflow_core.assembly import blank_template
from lipflow_core.interfaces import Split
from lipflow_core.planning import plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Encoding, Keypoints
from lipflow_core.selection import spread
from lipflow_core.splits import load_frames

COUPLINGS = ("additive", "affine", "affine-clamped", "spline")
BATCHES = (2, 4, 16, 64)
INITIALIZATIONS = ("accumulated", "first batch")
CELL = ("coupling", "batch", "initialization", "seed", "steps")
RESULT = ("ran", "finite", "train", "held_out", "best", "spike", "ms")
JOINT_CELL = ("coupling", "initialization", "clipped", "weight", "steps", "seed")
JOINT_RESULT = (
    *("ran", "finite", "skipped", "held_out", "best", "standardized", "image", "geometry"),
    *("sigma_q", "sigma_p", "spread", "log_det", "median_norm", "largest_norm", "largest_latent"),
)


@dataclass(frozen=True)
class Codes:
    """Frames of a split as Q and P see them: posterior (N, D) and keypoints (N, K, 2)."""

    posterior: Encoding
    keypoints: Keypoints

    def batch(self, index: Tensor, generator: torch.Generator) -> tuple[Encoding, Tensor, Keypoints]:
        posterior = self.posterior.rows(index)
        noise = torch.randn(posterior.mean.shape, generator=generator)
        return posterior, posterior.mean + posterior.log_std.exp() * noise, self.keypoints.rows(index)


def encoded(avatar: lipflow_core.Avatar, split: Split) -> Codes:
    """Encode all frames of a split."""
    posteriors, keypoints = [], []
    with torch.no_grad():
        for indices in np.array_split(np.arange(len(split)), math.ceil(len(split) / 64)):
            frame = load_frames(split, indices, (avatar.encoder.modality, "keypoints"))
            posteriors.append(avatar.encode(frame))
            keypoints.append(frame["keypoints"])
    return Codes(joined(posteriors), joined(keypoints))


def joined(records: list) -> object:
    """Records of batches as one."""
    first = records[0]
    parts = {
        name: joined([getattr(r, name) for r in records])
        if hasattr(value, "rows")
        else (torch.cat([getattr(r, name) for r in records]) if isinstance(value, Tensor) else value)
        for name, value in vars(first).items()
    }
    return type(first)(**parts)


class Pair(nn.Module):
    """P and the prior with its flow, of the shipped spec `lip-flow-keypoint` at the model's preset, without penalty."""

    def __init__(self, model: lipflow_core.Spec, coupling: str, seed: int):
        super().__init__()
        options = [f"preset={model.preset}", f"code={model.code}", f"seed={seed}", f"flow.coupling={coupling}"]
        options.append("prior.prior_entropy=0")  # what is told is the likelihood alone
        blueprint = plan(lipflow_core.load_spec("lip-flow-keypoint", options))
        avatar = lipflow_core.assemble(blueprint.spec, template=blank_template(blueprint))
        self.driving, self.prior = avatar.driving, avatar.prior

    def loss(self, posterior: Encoding, code: Tensor, keypoints: Keypoints) -> Tensor:
        return self.prior.divergence(posterior, code, self.driving(keypoints)).mean()


def run(pair: Pair, train: Codes, held_out: Codes, batch: int, initialization: str, seed: int, steps: int) -> dict:
    """Train one cell; its row of the table."""
    generator = torch.Generator().manual_seed(seed)
    frames = len(train.posterior.mean)
    if initialization == "accumulated":
        with torch.no_grad():
            _, code, keypoints = train.batch(torch.randperm(frames, generator=generator)[:256], generator)
            pair.prior.initialize(code, pair.driving(keypoints))
    else:
        set_norms_from_first_batch(pair.prior.flow)
    optimizer = torch.optim.Adam(pair.parameters(), lr=5e-4)

    def score(codes: Codes) -> float:
        pair.eval()
        index = torch.from_numpy(spread(512, len(codes.posterior.mean)))
        with torch.no_grad():
            value = pair.loss(*codes.batch(index, torch.Generator().manual_seed(0))).item()
        pair.train()
        return value

    pair.train()
    norms, best, finite, order = [], math.inf, True, torch.empty(0, dtype=torch.int64)
    start = time.perf_counter()
    for step in range(1, steps + 1):
        if len(order) < batch:
            order = torch.randperm(frames, generator=generator)
        index, order = order[:batch], order[batch:]
        loss = pair.loss(*train.batch(index, generator))
        optimizer.zero_grad()
        loss.backward()
        norm = torch.nn.utils.get_total_norm([p.grad for p in pair.parameters() if p.grad is not None]).item()
        norms.append(norm)
        if not (math.isfinite(loss.item()) and math.isfinite(norm)):
            finite = False
            break
        optimizer.step()
        if step % max(1, steps // 10) == 0:
            best = min(best, value) if math.isfinite(value := score(held_out)) else best
    ms = 1e3 * (time.perf_counter() - start) / step
    tail = norms[len(norms) // 10 :]
    return {
        "ran": step,
        "finite": finite,
        "train": score(train) if finite else math.nan,
        "held_out": score(held_out) if finite else math.nan,
        "best": best,
        "spike": max(tail) / statistics.median(tail),
        "ms": ms,
    }


def gaussian_nlls(train: Codes, held_out: Codes) -> tuple[float, float]:
    """Held-out NLL in nats per dimension under N(0, I), and under a full Gaussian fitted to all training codes."""
    generator = torch.Generator().manual_seed(0)
    _, codes, _ = train.batch(torch.arange(len(train.posterior.mean)), generator)
    _, seen, _ = held_out.batch(torch.arange(len(held_out.posterior.mean)), generator)
    unit = torch.eye(codes.shape[1])
    gaussians = (
        torch.distributions.MultivariateNormal(torch.zeros(len(unit)), unit),
        torch.distributions.MultivariateNormal(codes.mean(dim=0), codes.T.cov() + 1e-6 * unit),
    )
    return tuple(-gaussian.log_prob(seen).mean().item() / len(unit) for gaussian in gaussians)


def table(rows: list[dict]) -> str:
    """Mean of the seeds' held-out NLL, how many diverged, and the largest gradient spike, as Markdown."""
    lines = []
    for initialization in INITIALIZATIONS:
        present = [c for c in COUPLINGS if any(r["coupling"] == c for r in rows)]
        batches = [b for b in BATCHES if any(r["batch"] == b for r in rows)]
        lines += [f"ActNorm set from: {initialization}", ""]
        lines += ["| coupling | " + " | ".join(f"batch {b}" for b in batches) + " |", "|---" * (len(batches) + 1) + "|"]
        for coupling in present:
            cells = []
            for batch in batches:
                key = (coupling, batch, initialization)
                found = [r for r in rows if (r["coupling"], r["batch"], r["initialization"]) == key]
                good = [r["held_out"] for r in found if r["finite"]]
                spread_of = f" ± {statistics.stdev(good):.2f}" if len(good) > 1 else ""
                text = f"{statistics.mean(good):.2f}{spread_of}" if good else "–"
                lost = len(found) - len(good)
                cells.append(text + (f" ({lost} of {len(found)} diverged)" if lost else ""))
            lines.append(f"| `{coupling}` | " + " | ".join(cells) + " |")
        lines.append("")
    return "\n".join(lines)


def joint_table(rows: list[dict]) -> str:
    """A line for each kind of joint run, means over its seeds, as Markdown."""
    names = ("coupling", "ActNorm set from", "clipped", "λ_L", "seeds", "not finite", "NLL", "standardized", "image")
    names += ("geometry", "σ_q", "spread", "σ_p", "log det", "median gradient", "largest", "largest L_L")
    lines = ["| " + " | ".join(names) + " |", "|---" * len(names) + "|"]
    kinds = dict.fromkeys(tuple(row[name] for name in JOINT_CELL if name != "seed") for row in rows)
    for kind in kinds:
        found = [row for row in rows if tuple(row[name] for name in JOINT_CELL if name != "seed") == kind]
        good = [row for row in found if row["finite"]]
        coupling, initialization, clipped, weight, _ = kind

        def told(name: str, good: list[dict] = good) -> str:
            values = [row[name] for row in good]
            spread_of = f" ± {statistics.stdev(values):.2g}" if len(values) > 1 else ""
            return f"{statistics.mean(values):.3g}{spread_of}" if values else "–"

        figures = ("held_out", "standardized", "image", "geometry", "sigma_q", "spread", "sigma_p", "log_det")
        peaks = ("median_norm", "largest_norm", "largest_latent")
        cells = [f"`{coupling}`", initialization, clipped, f"{weight:g}", len(found), len(found) - len(good)]
        cells += [told(name) for name in figures] + [f"{max(row[name] for row in good or found):.3g}" for name in peaks]
        lines.append("| " + " | ".join(map(str, cells)) + " |")
    return "\n".join(lines)


def study_frozen(arguments: argparse.Namespace) -> None:
    """P and F against the codes of a trained model."""
    avatar, spec = lipflow_core.open_model(arguments.model)
    capture = spec.capture.build(CaptureInputs())
    train, held_out = (encoded(avatar.eval(), capture.split(name)) for name in ("train", "held-out"))
    unit, fitted = gaussian_nlls(train, held_out)
    print(
        f"{len(train.posterior.mean)} training codes of {spec.code} dimensions; held-out NLL of N(0, I) {unit:.2f}, "
        f"of a Gaussian fitted to them {fitted:.2f} nats per dimension"
    )
    steps = arguments.steps or 1000
    cells = (
        {"coupling": coupling, "batch": batch, "initialization": initialization, "seed": seed, "steps": steps}
        for seed, batch, coupling, initialization in product(
            range(arguments.seeds), arguments.batches, arguments.couplings, INITIALIZATIONS
        )
    )

    def result(cell: dict) -> dict:
        pair = Pair(spec, cell["coupling"], cell["seed"])
        return run(pair, train, held_out, cell["batch"], cell["initialization"], cell["seed"], steps)

    rows = work_through(Path(arguments.out or "couplings.csv"), CELL, RESULT, cells, result)
    print("\n" + table([row for row in rows if row["steps"] == steps]))


def study_joint(arguments: argparse.Namespace) -> None:
    """All parts of a shipped spec together."""
    base = lipflow_core.load_spec(arguments.joint, ["preset=small"])
    capture = base.capture.build(CaptureInputs())
    steps = arguments.steps or base.training.stages[0].steps
    cells = (
        {
            "coupling": coupling,
            "initialization": initialization,
            "clipped": clipped,
            "weight": weight,
            "steps": steps,
            "seed": seed,
        }
        for seed, weight, initialization, clipped, coupling in product(
            range(arguments.seeds), arguments.weights, INITIALIZATIONS, arguments.clipped, arguments.couplings
        )
    )

    def result(cell: dict) -> dict:
        options = [
            "preset=small",
            f"seed={cell['seed']}",
            f"flow.coupling={cell['coupling']}",
            f"training.stages.0.steps={steps}",
            f"training.stages.0.objectives.divergence.weight={cell['weight']}",
            f"training.clip={base.training.clip if cell['clipped'] == 'yes' else UNCLIPPED}",
            "training.log_every=1",
        ]
        spec = lipflow_core.load_spec(arguments.joint, options)
        return train_jointly(spec, capture, first_batch=cell["initialization"] == "first batch")

    rows = work_through(Path(arguments.out or "joint-couplings.csv"), JOINT_CELL, JOINT_RESULT, cells, result)
    print("\n" + joint_table([row for row in rows if row["steps"] == steps]))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("model", nargs="?", help="model directory whose Q makes the codes")
    what.add_argument("--joint", metavar="SPEC", help="train all parts of this shipped spec together")
    parser.add_argument("--out", help="CSV file, one line per run; taken up where it ends")
    parser.add_argument("--steps", type=int, help="1,000; of joint runs as many as the spec says")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--couplings", nargs="+", choices=COUPLINGS, default=COUPLINGS)
    parser.add_argument("--batches", type=int, nargs="+", default=BATCHES, help="of runs against frozen codes")
    parser.add_argument("--weights", type=float, nargs="+", default=(5e-4,), help="λ_L of joint runs")
    parser.add_argument("--clipped", nargs="+", choices=("yes", "no"), default=("yes", "no"), help="joint runs")
    arguments = parser.parse_args()
    study_joint(arguments) if arguments.joint else study_frozen(arguments)


def work_through(
    path: Path, cell_names: tuple[str, ...], result_names: tuple[str, ...], cells: Iterable[dict], run_cell: Callable
) -> list[dict]:
    """Run the cells that the CSV file does not have yet, a line each; all rows of the file."""
    rows = read(path)
    done = {tuple(row[name] for name in cell_names) for row in rows}
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, cell_names + result_names)
        if not rows:
            writer.writeheader()
        for cell in cells:
            if tuple(cell[name] for name in cell_names) in done:
                continue
            row = {**cell, **run_cell(cell)}
            rows.append(row)
            writer.writerow(row)
            file.flush()
            print(
                *(f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), sep=", ", flush=True
            )
    return rows


def read(path: Path) -> list[dict]:
    """The rows of a table of earlier runs, numbers as numbers."""
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(file)]


def _value(text: str) -> object:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            pass
    return {"True": True, "False": False}.get(text, text)


if __name__ == "__main__":
    main()
