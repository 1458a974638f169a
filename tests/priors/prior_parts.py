"""Priors, encodings and flows for the tests of this folder."""

from __future__ import annotations

import torch
from pydantic import TypeAdapter

from lipflow_core.interfaces import LatentPrior
from lipflow_core.parts import FlowSlot, PriorSlot
from lipflow_core.plans import Plan, PriorInputs
from lipflow_core.records import Encoding

CODE, FEATURES = 3, 5

TAKES_FLOW = {"flow", "flow-student"}

PRIORS = {
    "standard-normal": {"type": "standard-normal"},
    "kl": {"type": "kl"},
    "kl-reverse": {"type": "kl", "divergence": "reverse-kl"},
    "kl-likelihood": {"type": "kl", "divergence": "likelihood"},
    "kl-fixed": {"type": "kl", "std": 0.7},
    "lip-flow": {"type": "flow"},
    "lip-flow-kpt": {"type": "flow", "prior_entropy": 1.0},
    "lip-flow-driving-entropy": {"type": "flow", "driving_entropy": 1.0},
    "lip-flow-entropy": {"type": "flow", "posterior_entropy": "keep"},
    "lip-flow-fixed": {"type": "flow", "std": 0.5},
    "dam-flow": {"type": "flow", "base": "standard-normal"},
    "mixture": {"type": "mixture", "components": 3},
    "mixture-sample": {"type": "mixture", "components": 3, "divergence": "sample"},
    "flow-student": {"type": "flow-student", "freedom": 5},
    "flow-matching": {"type": "flow-matching", "hidden": 16, "blocks": 1},
    "flow-matching-standard": {"type": "flow-matching", "base": "standard-normal", "hidden": 16, "blocks": 1},
    "flow-student-standard": {"type": "flow-student", "base": "standard-normal", "posterior_entropy": "keep"},
    "flow-student-entropy": {"type": "flow-student", "freedom": 5, "prior_entropy": 1.0},
}


def driving_plan(code: int = CODE) -> Plan:
    return Plan(outputs={"mean": (code,), "log_std": (code,), "features": (FEATURES,)}, needs=("headset",))


def make_prior(options: dict, coupling: str = "affine", code: int = CODE, driving: bool = True) -> LatentPrior:
    """A float64 prior in evaluation mode; the weights of its flow are moved away from the identity."""
    torch.manual_seed(0)
    part = TypeAdapter(PriorSlot).validate_python(options)
    flow = None
    if options["type"] in TAKES_FLOW:
        flow = TypeAdapter(FlowSlot).validate_python({"type": "glow", "steps": 2, "hidden": 8, "coupling": coupling})
    plan = driving_plan(code) if driving else None
    prior = part.build(PriorInputs(code=code, driving=plan, driving_name="hmc", flow=flow)).double().eval()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=generator, dtype=torch.float64))
    return prior


def make_encoding(size: int = 4, seed: int = 0, code: int = CODE) -> Encoding:
    generator = torch.Generator().manual_seed(seed)

    def normal(width: int) -> torch.Tensor:
        return torch.randn(size, width, generator=generator, dtype=torch.float64)

    return Encoding(normal(code), 0.3 * normal(code) - 0.5, normal(FEATURES))


def leaves(encoding: Encoding) -> Encoding:
    """The same encoding, its tensors asking for gradients."""
    return encoding.apply(lambda tensor: tensor.clone().requires_grad_())


def driving_for(prior: LatentPrior, **options) -> Encoding | None:
    return make_encoding(**options) if "driving" in prior.planned.needs else None
