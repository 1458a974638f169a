"""Time of the paper's flow at a fixed context against nflows: gradient with respect to the code.

    python benchmarks/flow.py --threads 1

Features 256, context 1024, hidden 1024, 4 steps. Contenders take turns; the figures are each one's best of all turns,
since other work on the machine only adds. "unfolded" is flow `glow` without `condition`; "floor" the folded flow's
matrix products alone; "fold" the first `condition` and gradient, "bind" a later `condition`.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import torch
from lipflow_glow.conditioned import FoldedConditionedFlow
from lipflow_glow.config import GlowConfig
from lipflow_glow.flow import GlowFlow
from nflows.nn.nets import ResidualNet
from nflows.transforms import ActNorm, AdditiveCouplingTransform, AffineCouplingTransform, CompositeTransform, LULinear
from torch import Tensor

from lipflow_core.plans import FlowInputs

FEATURES, CONTEXT, HIDDEN, STEPS = 256, 1024, 1024, 4
NFLOWS = {"additive": AdditiveCouplingTransform, "affine": AffineCouplingTransform}


def nflows_flow(coupling: str) -> CompositeTransform:
    """The same flow as one builds it from nflows."""

    def net(inputs: int, outputs: int) -> ResidualNet:
        return ResidualNet(inputs, outputs, HIDDEN, CONTEXT, num_blocks=2, use_batch_norm=True)

    layers = []
    for step in range(STEPS):
        mask = [(index + step) % 2 for index in range(FEATURES)]
        layers += [ActNorm(FEATURES), LULinear(FEATURES), NFLOWS[coupling](mask, net)]
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


def gradient_of(forward: Callable[[Tensor], tuple[Tensor, Tensor]], code: Tensor) -> Callable[[], tuple]:
    """A function that makes z and d/dcode (½ |z|² − log|det|), what fitting asks of a flow."""

    def run() -> tuple[Tensor, Tensor]:
        leaf = code.detach().requires_grad_()
        mapped, log_det = forward(leaf)
        loss = 0.5 * mapped.square().sum() - log_det.sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        return mapped.detach(), gradient

    return run


def floor_of(bound: FoldedConditionedFlow, code: Tensor) -> Callable[[], None]:
    """All matrix products of the folded flow and of its gradient, and nothing else."""
    pairs = []
    for step in bound.weights.steps:
        blocks = [product for block in step.net.blocks for product in (block.first, block.second)]
        pairs += [step.affine, step.net.initial, *blocks, step.net.final]
    products = [(pair.forward, pair.inputs) for pair in pairs] + [(pair.back, pair.outputs) for pair in pairs[::-1]]
    inputs = {width: torch.randn(len(code), width) for _, width in products}

    def run() -> None:
        with torch.no_grad():
            for product, width in products:
                product(inputs[width])

    return run


def best_times(contenders: dict[str, Callable[[], object]], repeats: int) -> dict[str, float]:
    """Best seconds of each, the contenders taking turns."""
    for function in contenders.values():
        function()
    times: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, function in contenders.items():
            start = time.perf_counter()
            function()
            times[name].append(time.perf_counter() - start)
    return {name: min(values) for name, values in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--coupling", choices=sorted(NFLOWS), default="additive")
    parser.add_argument("--seconds", type=float, default=6.0, help="spent per batch size, about")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(0)

    reference = nflows_flow(arguments.coupling)
    like_trained(reference)
    flows = {}
    for name, precision in (("fp32", "float32"), ("bf16", "bfloat16")):
        config = GlowConfig(coupling=arguments.coupling, fitting_precision=precision)
        flows[name] = GlowFlow(config, FlowInputs(features=FEATURES, context=CONTEXT))
        flows[name].load_state_dict(reference.state_dict())
    for flow in (reference, *flows.values()):
        flow.eval().requires_grad_(False)

    print(f"coupling {arguments.coupling}, {arguments.threads} thread(s), torch {torch.__version__}")
    print("milliseconds, ratios, relative errors in z and gradient")
    print(
        "  batch      nflows   unfolded    fp32    bf16   floor |  ×fp32  ×bf16  fp32/floor |    fold     bind | errors"
    )
    for batch in arguments.batches:
        code, context = torch.randn(batch, FEATURES), torch.randn(batch, CONTEXT)
        flows["fp32"].train().eval()  # forgets what was folded
        start = time.perf_counter()
        gradient_of(flows["fp32"].condition(context).forward, code)()
        fold = time.perf_counter() - start
        bound = {name: flow.condition(context) for name, flow in flows.items()}
        contenders = {
            "nflows": gradient_of(lambda z, h=context: reference(z, h), code),
            "unfolded": gradient_of(lambda z, h=context: flows["fp32"](z, h), code),
            "fp32": gradient_of(bound["fp32"].forward, code),
            "bf16": gradient_of(bound["bf16"].forward, code),
            "floor": floor_of(bound["fp32"], code),
        }
        once = best_times(contenders, 1)
        taken = best_times(contenders, max(5, int(arguments.seconds / sum(once.values()))))
        bind = best_times({"bind": lambda h=context: flows["fp32"].condition(h)}, 5)["bind"]
        wanted, made = contenders["nflows"](), contenders["fp32"]()
        errors = [((a - b).abs().max() / a.abs().max()).item() for a, b in zip(wanted, made, strict=True)]
        ms = {name: 1e3 * value for name, value in taken.items()}
        print(
            f"  {batch:5d} {ms['nflows']:11.2f} {ms['unfolded']:10.2f} {ms['fp32']:7.2f} {ms['bf16']:7.2f} "
            f"{ms['floor']:7.2f} | {ms['nflows'] / ms['fp32']:6.2f} {ms['nflows'] / ms['bf16']:6.2f} "
            f"{ms['fp32'] / ms['floor']:11.2f} | {1e3 * fold:7.0f} {1e3 * bind:8.1f} | {errors[0]:.1e} {errors[1]:.1e}"
        )


if __name__ == "__main__":
    main()
