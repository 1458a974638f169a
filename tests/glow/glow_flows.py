"""Small flows with weights as after training, for the tests of this folder."""

from __future__ import annotations

import torch
from lipflow_glow.config import GlowConfig
from lipflow_glow.flow import GlowFlow
from torch import Tensor

from lipflow_core.plans import FlowInputs

COUPLINGS = ("additive", "affine", "affine-clamped", "spline")


def perturb(flow: torch.nn.Module, seed: int = 0) -> None:
    """Move parameters and running statistics away from their start, where a flow is nearly the identity."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, tensor in flow.state_dict().items():
            if not tensor.is_floating_point():
                continue
            noise = torch.randn(tensor.shape, generator=generator, dtype=torch.float64).to(tensor)
            if name.endswith("running_var"):
                tensor.copy_(0.5 + noise.square())
            else:
                tensor.add_(0.2 * noise)


def make_flow(coupling: str = "additive", features: int = 6, context: int = 5, **options) -> GlowFlow:
    """A float64 flow in evaluation mode, perturbed."""
    torch.manual_seed(0)
    config = GlowConfig(coupling=coupling, **{"steps": 3, "hidden": 16, **options})
    flow = GlowFlow(config, FlowInputs(features=features, context=context)).double().eval()
    perturb(flow)
    return flow


def make_batch(flow: GlowFlow, size: int = 4, seed: int = 1) -> tuple[Tensor, Tensor | None]:
    """Codes and contexts (None for an unconditional flow), float64."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.randn(size, flow.given.features, generator=generator, dtype=torch.float64)
    if not flow.given.context:
        return code, None
    return code, torch.randn(size, flow.given.context, generator=generator, dtype=torch.float64)
