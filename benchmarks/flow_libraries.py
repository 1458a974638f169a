"""The paper's flow as one would build it from other libraries, for `benchmarks/flow.py`.

    pip install --no-deps normflows zuko FrEIA

Each function returns (codes (B, D), contexts (B, h)) → z (B, D), log|det| (B,), in evaluation mode, frozen. normflows
has everything that nflows has. zuko and FrEIA have no residual net with gates for the context: their conditioners are
plain ones with as many hidden products, which the context enters at the first layer only, so that they compute less.
All four steps have ActNorm (not zuko), a linear map of the code and an additive coupling.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn

FEATURES, CONTEXT, HIDDEN, STEPS, BLOCKS = 256, 1024, 1024, 4, 2
Map = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


def normflows_flow() -> Map:
    """`AffineCouplingBlock(scale=False)` over normflows' residual net, `LULinearPermute`, `ActNorm`."""
    from normflows import flows
    from normflows.nets import ResidualNet

    class WithContext(nn.Module):
        """A coupling's network with the context beside it: the coupling itself passes none on."""

        def __init__(self) -> None:
            super().__init__()
            half = FEATURES // 2
            self.net = ResidualNet(half, half, HIDDEN, CONTEXT, num_blocks=BLOCKS, use_batch_norm=True)
            self.context: Tensor | None = None

        def forward(self, kept: Tensor) -> Tensor:
            return self.net(kept, self.context)

    nets = [WithContext() for _ in range(STEPS)]
    layers = nn.ModuleList()
    for net in nets:
        norm = flows.ActNorm(FEATURES)
        norm.data_dep_init_done.fill_(1.0)
        layers.extend([norm, flows.LULinearPermute(FEATURES), flows.AffineCouplingBlock(net, scale=False)])
    layers.eval().requires_grad_(False)

    def run(code: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        total = code.new_zeros(len(code))
        for net in nets:
            net.context = context
        for layer in layers:
            # In normflows density evaluation goes through inverses; a linear map's is the product, not the solve.
            code, log_det = layer.inverse(code)
            total = total + log_det
        return code, total

    return run


def zuko_flow() -> Map:
    """`GeneralCouplingTransform` with `AdditiveTransform` over an `MLP`, and `LULinearTransform`."""
    from zuko.flows import GeneralCouplingTransform
    from zuko.lazy import UnconditionalTransform
    from zuko.transforms import AdditiveTransform, ComposedTransform, LULinearTransform

    layers = nn.ModuleList()
    for step in range(STEPS):
        layers.append(UnconditionalTransform(LULinearTransform, torch.eye(FEATURES)))
        layers.append(
            GeneralCouplingTransform(
                FEATURES,
                CONTEXT,
                mask=torch.arange(FEATURES) % 2 == step % 2,
                univariate=AdditiveTransform,
                shapes=((),),
                hidden_features=(HIDDEN,) * (1 + 2 * BLOCKS),
            )
        )
    layers.eval().requires_grad_(False)

    def run(code: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return ComposedTransform(*(layer(context) for layer in layers)).call_and_ladj(code)

    return run


def freia_flow() -> Map:
    """`NICECouplingBlock`, which moves both halves and so is two steps, with `FixedLinearTransform` and `ActNorm`."""
    from FrEIA import modules
    from FrEIA.framework import SequenceINN

    def net(inputs: int, outputs: int) -> nn.Module:
        widths = [inputs, *[HIDDEN] * (1 + 2 * BLOCKS)]
        layers = [layer for pair in pairwise(widths) for layer in (nn.Linear(*pair), nn.ReLU())]
        return nn.Sequential(*layers, nn.Linear(HIDDEN, outputs))

    flow = SequenceINN(FEATURES)
    for _ in range(STEPS // 2):
        for _ in range(2):
            flow.append(modules.ActNorm)  # sets itself from the first batch
            flow.append(modules.FixedLinearTransform, M=torch.eye(FEATURES))
        flow.append(modules.NICECouplingBlock, cond=0, cond_shape=(CONTEXT,), subnet_constructor=net)
    flow.eval().requires_grad_(False)
    flow(torch.randn(256, FEATURES), [torch.randn(256, CONTEXT)])

    def run(code: Tensor, context: Tensor) -> tuple[Tensor, Tensor]:
        return flow(code, [context])

    return run


LIBRARIES: dict[str, Callable[[], Map]] = {"normflows": normflows_flow, "zuko": zuko_flow, "FrEIA": freia_flow}
