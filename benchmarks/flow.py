"""Time of the paper's flow against other libraries' at a fixed context, as in fitting, and in training.

    python benchmarks/flow.py --threads 1 2
    python benchmarks/flow.py --adam 200
    python benchmarks/flow.py --training

Features 256, context 1024, hidden 1024, 4 steps. Measured is the gradient of ½|z|² − log|det| with respect to the code;
with `--adam`, so many steps of Adam on it, the making of `condition` included; with `--training`, forward and backward
to all parameters. Contenders take turns; the figures are each one's best of all turns, since other work on the machine
only adds. "floor" is the folded flow's matrix products alone; "fold" the first `condition` and gradient, "bind" a later
`condition`. normflows, zuko and FrEIA take part where they are installed (see flow_libraries.py).
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable

import torch
from flow_libraries import CONTEXT, FEATURES, HIDDEN, LIBRARIES, STEPS
from lipflow_glow.config import GlowConfig
from lipflow_glow.flow import GlowFlow
from lipflow_glow.folding import FoldedWeights, StepMatrices
from nflows.nn.nets import ResidualNet
from nflows.nn.nets.resnet import ResidualBlock
from nflows.transforms import ActNorm, AdditiveCouplingTransform, AffineCouplingTransform, CompositeTransform, LULinear
from torch import Tensor

from lipflow_core.plans import FlowInputs

KINK = 1e-6
"""So near to zero, what goes into a ReLU may be on either side of it in float32."""
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


def floor_of(flow: GlowFlow, code: Tensor) -> Callable[[], None]:
    """All matrix products of the folded flow and of its gradient, dense, by oneDNN with packed weights, and no more."""
    layers = list(flow._transforms)
    steps = FoldedWeights(list(zip(layers[0::3], layers[1::3], layers[2::3], strict=True))).steps
    matrices = [matrix for step in steps for matrix in in_order(step.matrices())]
    products = [product(matrix) for matrix in matrices] + [product(matrix.t()) for matrix in matrices[::-1]]
    inputs = {matrix.shape[side]: torch.randn(len(code), matrix.shape[side]) for matrix in matrices for side in (0, 1)}

    def run() -> None:
        with torch.no_grad():
            for multiply, width in products:
                multiply(inputs[width])

    return run


def in_order(matrices: StepMatrices) -> list[Tensor]:
    """The matrices of a step as they are gone through."""
    return [matrices.affine, matrices.initial, *(m for block in matrices.blocks for m in block), matrices.final]


def product(matrix: Tensor) -> tuple[Callable[[Tensor], Tensor], int]:
    """x ↦ x Wᵀ for (out, in), and how wide x is."""
    weight = matrix.contiguous()
    if not torch.backends.mkldnn.is_available():
        return lambda x: torch.nn.functional.linear(x, weight), weight.shape[1]
    packed = torch.ops.mkldnn._reorder_linear_weight(weight)
    return lambda x: torch.ops.mkldnn._linear_pointwise(x, packed, None, "none", [], ""), weight.shape[1]


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


def adam_of(bind: Callable[[], Callable[[Tensor], tuple[Tensor, Tensor]]], code: Tensor, steps: int) -> Callable:
    """A fit of codes under the flow's density by `steps` of Adam; `bind` fixes the context."""

    def run() -> Tensor:
        forward = bind()
        leaf = code.clone().requires_grad_()
        optimizer = torch.optim.Adam([leaf], lr=0.1)
        for _ in range(steps):
            mapped, log_det = forward(leaf)
            loss = 0.5 * mapped.square().sum() - log_det.sum()
            (leaf.grad,) = torch.autograd.grad(loss, leaf)
            optimizer.step()
        return leaf.detach()

    return run


def training_of(flow: torch.nn.Module, code: Tensor, context: Tensor) -> Callable[[], None]:
    """Forward and backward of the negative log-likelihood to all parameters, codes and contexts."""
    leaves = code.clone().requires_grad_(), context.clone().requires_grad_()

    def run() -> None:
        mapped, log_det = flow(*leaves)
        (0.5 * mapped.square().sum(dim=1) - log_det).mean().backward()

    return run


def others() -> dict[str, Callable]:
    """The libraries that are installed."""
    found = {}
    for name, build in LIBRARIES.items():
        try:
            found[name] = build()
        except ModuleNotFoundError as error:
            print(f"without {name}: {error.name} is not installed")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, nargs="+", default=[1])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 16, 256])
    parser.add_argument("--coupling", choices=sorted(NFLOWS), default="additive")
    parser.add_argument("--seconds", type=float, default=6.0, help="spent per batch size, about")
    parser.add_argument("--adam", type=int, metavar="STEPS", help="measure fits of so many steps")
    parser.add_argument("--training", action="store_true", help="measure training instead (batches 16 and 64)")
    arguments = parser.parse_args()
    torch.manual_seed(0)

    reference = nflows_flow(arguments.coupling)
    like_trained(reference)
    flows = {}
    for name, precision in (("fp32", "float32"), ("bf16", "bfloat16")):
        config = GlowConfig(coupling=arguments.coupling, fitting_precision=precision)
        flows[name] = GlowFlow(config, FlowInputs(features=FEATURES, context=CONTEXT))
        flows[name].load_state_dict(reference.state_dict())

    for threads in arguments.threads:
        torch.set_num_threads(threads)
        print(f"\ncoupling {arguments.coupling}, {threads} thread(s), torch {torch.__version__}; milliseconds, ratios")
        if arguments.training:
            report_training(reference, flows["fp32"], arguments.seconds)
        else:
            for flow in (reference, *flows.values()):
                flow.eval().requires_grad_(False)
            libraries = others() if arguments.coupling == "additive" else {}
            for batch in arguments.batches:
                report(reference, flows, libraries, batch, arguments.adam, arguments.seconds)


def report(
    reference: torch.nn.Module,
    flows: dict[str, GlowFlow],
    libraries: dict[str, Callable],
    batch: int,
    adam: int | None,
    seconds: float,
) -> None:
    """Measure one batch size and print it."""
    code, context = torch.randn(batch, FEATURES), torch.randn(batch, CONTEXT)
    flows["fp32"].train().eval()  # forgets what was folded
    start = time.perf_counter()
    gradient_of(flows["fp32"].condition(context).forward, code)()
    fold = time.perf_counter() - start

    maps = {"nflows": reference, **libraries}
    binds = {name: lambda f=f: lambda z: f(z, context) for name, f in maps.items()}
    binds |= {name: lambda flow=flow: flow.condition(context).forward for name, flow in flows.items()}
    if adam:
        contenders = {name: adam_of(bind, code, adam) for name, bind in binds.items()}
    else:
        contenders = {name: gradient_of(bind(), code) for name, bind in binds.items()}
        contenders["floor"] = floor_of(flows["fp32"], code)
    once = best_times(contenders, 1)
    taken = best_times(contenders, max(1 if adam else 5, int(seconds / sum(once.values()))))
    bind = best_times({"bind": lambda: flows["fp32"].condition(context)}, 5)["bind"]

    what = f"{adam} steps of Adam" if adam else "gradient"
    print(f"batch {batch}, {what}; fold {1e3 * fold:.0f} ms, bind {1e3 * bind:.1f} ms")
    for name, value in taken.items():
        print(
            f"  {name:10s} {1e3 * value:10.2f} ms   {taken['nflows'] / value:5.2f}× as fast as nflows"
            + (f"   {value / taken['floor']:5.2f} × floor" if "floor" in taken else "")
        )
    if not adam:
        smooth = ~at_a_kink(reference, code, context)
        wanted, made = contenders["nflows"](), contenders["fp32"]()
        z, gradient, rest = (
            ((a - b)[rows].abs().amax() / a.abs().max()).item() if rows.any() else 0.0
            for a, b, rows in zip(wanted + wanted[1:], made + made[1:], (smooth | True, smooth, ~smooth), strict=True)
        )
        print(
            f"  fp32 against nflows, relative: z {z:.1e}, gradient {gradient:.1e}; gradient of {int((~smooth).sum())} "
            f"rows at a ReLU's kink {rest:.1e}"
        )


def at_a_kink(reference: torch.nn.Module, code: Tensor, context: Tensor) -> Tensor:
    """(B,) which rows have a number so near to a ReLU's kink that rounding decides on which side of it they are."""
    deep, nearest = copy.deepcopy(reference).double(), torch.full((len(code),), torch.inf, dtype=torch.float64)

    def watch(inputs: Tensor) -> Tensor:
        nearest.copy_(nearest.minimum(inputs.abs().amin(dim=1)))
        return inputs.relu()

    for block in deep.modules():
        if isinstance(block, ResidualBlock):
            block.activation = watch
    with torch.no_grad():
        deep(code.double(), context.double())
    return nearest < KINK


def report_training(reference: torch.nn.Module, flow: GlowFlow, seconds: float) -> None:
    for batch in (16, 64):
        code, context = torch.randn(batch, FEATURES), torch.randn(batch, CONTEXT)
        contenders = {
            name: training_of(module.train(), code, context) for name, module in (("nflows", reference), ("glow", flow))
        }
        once = best_times(contenders, 1)
        taken = best_times(contenders, max(5, int(seconds / sum(once.values()))))
        print(f"batch {batch}, training: forward and backward to parameters")
        for name, value in taken.items():
            print(f"  {name:10s} {1e3 * value:10.2f} ms   {taken['nflows'] / value:5.2f}× as fast as nflows")


if __name__ == "__main__":
    main()
