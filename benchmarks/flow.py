"""Processor time of flow `glow` while codes are fitted: its gradient alone, and whole fits.

    python benchmarks/flow.py
    python benchmarks/flow.py --machines this --fits
    python benchmarks/flow.py --batches 1 2 3 4 --gradients

Gradients are those of ½|z|² − log|det| with respect to the code, at the paper's sizes: code 256, context 1024, hidden
1024, 4 steps; nflows takes part with the same weights. Whole fits are those of `lip-flow-keypoint` and `lip-flow-hmc`
(three headset pictures a frame), at preset `small` and at the paper's sizes, with untrained weights. Their frames are
simulated on first use.

Each row compares the options `passes` and `fitting_precision` within one process and one thread. They take turns, and
the figures are medians of processor time, so that other work on the machine changes them little. In brackets stands how
many times as fast as `passes: plain` that is. `--machines` imitates processors without a matrix unit (AMX) and without
AVX-512, by environment variables that torch's libraries and numba read.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable
from statistics import median

import torch
from fitting import frames, model
from lipflow_glow.config import GlowConfig
from lipflow_glow.flow import GlowFlow
from nflows.nn.nets import ResidualNet
from nflows.transforms import ActNorm, AdditiveCouplingTransform, CompositeTransform, LULinear
from torch import Tensor

from lipflow_core.fitting import fit
from lipflow_core.plans import FlowInputs

FEATURES, CONTEXT, HIDDEN, STEPS = 256, 1024, 1024, 4
WAYS = {
    "plain": {"passes": "plain"},
    "compiled": {"passes": "compiled"},
    "auto": {"passes": "auto"},
    "bfloat16": {"passes": "auto", "fitting_precision": "bfloat16"},
}
MACHINES = ("this", "no-amx", "no-avx512")
PAPER = [
    f"capture.{option}" for option in ("sequences=2", "held_out_sequences=1", "frames_per_sequence=16", "cameras=1")
]
FITS = [  # spec, preset, frames, steps
    ("lip-flow-keypoint", "small", 1, 100),
    ("lip-flow-keypoint", "small", 16, 50),
    ("lip-flow-keypoint", "paper", 1, 50),
    ("lip-flow-keypoint", "paper", 4, 30),
    ("lip-flow-keypoint", "paper", 16, 15),
    ("lip-flow-keypoint", "paper", 64, 8),
    ("lip-flow-hmc", "small", 1, 30),
    ("lip-flow-hmc", "small", 16, 10),
    ("lip-flow-hmc", "paper", 1, 1),
]


def main() -> None:
    """Print the table, or, for one machine, its part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--machines", nargs="+", choices=MACHINES, default=MACHINES)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 4, 16, 64, 256])
    parser.add_argument("--turns", type=int, default=9)
    parser.add_argument("--gradients", action="store_true", help="measure gradients only")
    parser.add_argument("--fits", action="store_true", help="measure whole fits only")
    parser.add_argument("--here", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.here:
        measure(args)
        return
    for machine in args.machines:
        print(f"\nmachine {machine}: ms of processor time, one thread, torch {torch.__version__}", flush=True)
        command = [sys.executable, *sys.argv, "--here"]
        subprocess.run(command, env={**os.environ, "OMP_NUM_THREADS": "1", **limits(machine)}, check=True)


def limits(machine: str) -> dict[str, str]:
    """Environment variables under which libraries use fewer instructions than the processor has."""
    if machine == "this":
        return {}
    if machine == "no-amx":
        return {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE_BF16"}
    from llvmlite.binding import get_host_cpu_features

    features = get_host_cpu_features()
    features.update({name: False for name in features if name.startswith(("avx512", "amx"))})
    return {
        "ONEDNN_MAX_CPU_ISA": "AVX2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
        "ATEN_CPU_CAPABILITY": "avx2",
        "NUMBA_CPU_NAME": "haswell",
        "NUMBA_CPU_FEATURES": features.flatten(),
    }


def measure(args: argparse.Namespace) -> None:
    """Print this process's rows."""
    torch.manual_seed(0)
    if not args.fits:
        for batch in args.batches:
            row(f"gradient, batch {batch}", gradients(batch), args.turns, 1)
    if not args.gradients:
        for spec, preset, count, steps in FITS:
            name = f"{spec} {preset}, {count} frames"
            row(name, fits(spec, preset, count, steps), max(3, args.turns // 2), count * steps)


def row(name: str, ways: dict[str, Callable[[], object]], turns: int, units: int) -> None:
    """Let the ways take turns, the first of which warms up; print medians per unit and of the ratios within a turn."""
    times: dict[str, list[float]] = {way: [] for way in ways}
    for _ in range(turns + 1):
        for way, work in ways.items():
            times[way].append(work())
    cells = []
    for way, taken in times.items():
        faster = median(plain / other for plain, other in zip(times["plain"][1:], taken[1:], strict=True))
        cells.append(f"{way} {1000 * median(taken[1:]) / units:8.2f} ({faster:4.2f})")
    print(f"{name:36s}", "   ".join(cells), flush=True)


def gradients(batch: int) -> dict[str, Callable[[], float]]:
    """Each way's gradient of ½|z|² − log|det|; calls return seconds."""
    reference = nflows_flow()
    like_trained(reference)
    code, context = torch.randn(batch, FEATURES), torch.randn(batch, CONTEXT)
    maps = {"nflows": lambda z: reference(z, context)}
    for way, options in WAYS.items():
        flow = GlowFlow(GlowConfig(**options), FlowInputs(features=FEATURES, context=CONTEXT)).eval()
        flow.load_state_dict(reference.state_dict())
        maps[way] = flow.requires_grad_(False).condition(context).forward
    reference.eval().requires_grad_(False)

    def gradient(forward: Callable[[Tensor], tuple[Tensor, Tensor]]) -> float:
        start = time.process_time()
        leaf = code.clone().requires_grad_()
        mapped, log_det = forward(leaf)
        torch.autograd.grad(0.5 * mapped.square().sum() - log_det.sum(), leaf)
        return time.process_time() - start

    return {way: lambda forward=forward: gradient(forward) for way, forward in maps.items()}


def fits(name: str, preset: str, count: int, steps: int) -> dict[str, Callable[[], float]]:
    """Each way's fit of `count` frames for `steps` steps, of which none stops early; calls return seconds."""
    overrides = [f"fitting.steps={steps}", f"fitting.patience={steps + 1}", f"fitting.batch={count}"]
    chosen = argparse.Namespace(model=None, spec=name, preset=preset)
    avatar, spec = model(chosen, overrides + (PAPER if preset == "paper" else []))
    held_out = frames(spec, min(count, 16))
    frame = held_out.rows(torch.arange(count) % len(held_out))
    flow = avatar.fitting_prior.flow
    once = spec.fitting.model_copy(update={"steps": 1})

    def run(options: dict[str, str]) -> float:
        flow.config = flow.config.model_copy(update={"fitting_precision": "float32", **options})
        flow.train().eval()
        fit(avatar, frame, once)  # folds, and compiles what is compiled
        start = time.process_time()
        fit(avatar, frame, spec.fitting)
        return time.process_time() - start

    return {way: lambda options=options: run(options) for way, options in WAYS.items()}


def nflows_flow() -> CompositeTransform:
    """The same flow as one builds it from nflows."""

    def net(inputs: int, outputs: int) -> ResidualNet:
        return ResidualNet(inputs, outputs, HIDDEN, CONTEXT, num_blocks=2, use_batch_norm=True)

    layers = []
    for step in range(STEPS):
        mask = [(index + step) % 2 for index in range(FEATURES)]
        layers += [ActNorm(FEATURES), LULinear(FEATURES), AdditiveCouplingTransform(mask, net)]
    return CompositeTransform(layers)


def like_trained(flow: torch.nn.Module) -> None:
    """Give parameters and running statistics values as after training: a fresh flow is nearly the identity."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for name, tensor in [*flow.named_parameters(), *flow.named_buffers()]:
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise.square())
            elif "entries" in name or "linear_layers.1" in name:
                tensor.add_(0.01 * noise)
            elif tensor.ndim == 1:
                tensor.add_(0.1 * noise)


if __name__ == "__main__":
    main()
