"""What each prior costs a step of fitting: the gradient of its likelihood with respect to the codes.

    OMP_NUM_THREADS=1 python benchmarks/priors.py

At the sizes of preset `small`, untrained. The priors are timed in turn, many times, and medians compared with `flow`'s:
of processor time, on which other work of the machine bears little.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from pydantic import TypeAdapter

from lipflow_core.parts import FlowSlot, PriorSlot
from lipflow_core.plans import Plan, PriorInputs
from lipflow_core.records import Encoding

CODE, FEATURES = 48, 256

PRIORS = {
    "standard-normal": {"type": "standard-normal"},
    "kl": {"type": "kl"},
    "mixture": {"type": "mixture"},
    "flow": {"type": "flow"},
    "flow-student": {"type": "flow-student"},
    "flow-matching, surrogate": {"type": "flow-matching"},
    "flow-matching, exact": {"type": "flow-matching", "fitting": "exact"},
}


def gradient_of(options: dict[str, object], batch: int) -> Callable[[], None]:
    """A function that takes one gradient of a fixed batch."""
    small = {"preset": "small"}
    part = TypeAdapter(PriorSlot).validate_python(options, context=small)
    flow = None
    if options["type"] in ("flow", "flow-student"):
        flow = TypeAdapter(FlowSlot).validate_python("glow", context=small)
    driving = Plan(outputs={"mean": (CODE,), "log_std": (CODE,), "features": (FEATURES,)})
    torch.manual_seed(0)
    prior = part.build(PriorInputs(code=CODE, driving=driving, flow=flow)).eval().requires_grad_(False)
    encoding = Encoding(torch.randn(batch, CODE), torch.zeros(batch, CODE), torch.randn(batch, FEATURES))
    with torch.no_grad():
        conditioned = prior.condition(encoding)
    code = torch.randn(batch, CODE, requires_grad=True)
    return lambda: torch.autograd.grad(conditioned.fitting_log_prob(code).sum(), code)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=30, help="times that each is measured (default: 30)")
    parser.add_argument("--batch", type=int, default=16, help="codes fitted together (default: 16)")
    given = parser.parse_args()

    gradients = {name: gradient_of(options, given.batch) for name, options in PRIORS.items()}
    times: dict[str, list[float]] = {name: [] for name in gradients}
    for turn in range(given.rounds + 3):
        for name, gradient in gradients.items():
            start = time.process_time()
            gradient()
            if turn >= 3:
                times[name].append(time.process_time() - start)
    base = statistics.median(times["flow"])
    print(f"{'prior':<26}{'CPU ms':>10}{'of flow':>10}")
    for name, measured in times.items():
        median = statistics.median(measured)
        print(f"{name:<26}{1000 * median:>10.2f}{median / base:>10.2f}")


if __name__ == "__main__":
    main()
