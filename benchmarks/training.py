"""Share of a training step that is spent outside forward, backward and optimizer, at preset small.

    python benchmarks/training.py [SPEC] [--steps N] [KEY=VALUE …]

Everything that the trainer adds counts as outside: waiting for batches, moving them, clipping, counting, logging,
progress. Evaluations and checkpoints are reported beside it, since how often they happen is the spec's choice.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning_fabric
import torch

from lipflow_core.specs import load_spec
from lipflow_core.training import stage, stage_loss, train

WARM_UP = 20


class Clock:
    """Adds up the seconds spent in functions, and counts the steps."""

    def __init__(self, now: Callable[[], float]) -> None:
        self.now = now
        self.seconds: dict[str, float] = defaultdict(float)
        self.steps = 0
        self.start = 0.0
        self.end = 0.0

    def timed(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """The same function, its time added up under `name`."""

        def wrapped(*args: Any, **kwargs: Any) -> Any:
            if not torch.is_grad_enabled():  # a forward within an evaluation
                return function(*args, **kwargs)
            begin = self.now()
            try:
                return function(*args, **kwargs)
            finally:
                self.seconds[name] += self.now() - begin

        return wrapped

    def tick(self) -> bool:
        """Called after each step: starts anew after the warm-up."""
        self.steps += 1
        self.end = self.now()
        if self.steps == WARM_UP:
            self.seconds.clear()
            self.start = self.end
        return False


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("spec", nargs="?", default="lip-flow-hmc")
    parser.add_argument("overrides", nargs="*", default=[])
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--clock", choices=["wall", "cpu"], default="wall", help="cpu: where other work disturbs")
    args = parser.parse_intermixed_args()
    size = ["capture.sequences=24", "capture.held_out_sequences=2", f"training.stages.0.steps={args.steps + WARM_UP}"]
    often = ["training.evaluate_every=100", "training.checkpoint_every=100"]
    spec = load_spec(args.spec, ["preset=small", "device=cpu", *size, *often, *args.overrides])
    clock = Clock(time.perf_counter if args.clock == "wall" else time.thread_time)

    stage_loss.StageLoss.forward = clock.timed("forward", stage_loss.StageLoss.forward)
    stage.StageTraining._evaluate = clock.timed("evaluations", stage.StageTraining._evaluate)
    stage.StageTraining._save = clock.timed("checkpoints", stage.StageTraining._save)
    lightning_fabric.Fabric.backward = clock.timed("backward", lightning_fabric.Fabric.backward)
    torch.optim.Adam.step = clock.timed("optimizer", torch.optim.Adam.step)
    with tempfile.TemporaryDirectory() as folder:
        train(spec, Path(folder) / "run", stop=clock.tick)

    steps = clock.steps - WARM_UP
    seconds = clock.seconds
    total = clock.end - clock.start - seconds["evaluations"] - seconds["checkpoints"]
    inside = sum(seconds[name] for name in ("forward", "backward", "optimizer"))
    print(f"{args.spec} {' '.join(args.overrides)}: {steps} steps of {1000 * total / steps:.1f} ms")
    for name in ("forward", "backward", "optimizer"):
        print(f"  {name:10} {1000 * seconds[name] / steps:7.2f} ms  {seconds[name] / total:6.1%}")
    print(f"  {'outside':10} {1000 * (total - inside) / steps:7.2f} ms  {1 - inside / total:6.1%}   (aim: under 5 %)")
    for name in ("evaluations", "checkpoints"):
        print(f"  {name} in {steps} steps: {seconds[name]:.2f} s")


if __name__ == "__main__":
    main()
