"""Checks flows: the properties of couplings, and the flow with a fixed context."""

from __future__ import annotations

import torch

from lipflow_core.testing import coupling
from lipflow_core.testing.inputs import normal
from lipflow_core.testing.module import code_of, context_of
from lipflow_core.testing.subject import Check, Subject, close

FLOAT64 = torch.float64


def conditioned_agrees(subject: Subject) -> None:
    for dtype, tolerance in ((FLOAT64, 1e-10), (torch.float32, 2e-5)):
        flow = subject.build(jitter=0.1, dtype=dtype)
        context = context_of(subject, 4, 2, dtype)
        conditioned = flow.condition(context)
        code = code_of(subject, 4, 1, dtype).requires_grad_()
        push = normal(3, 4, subject.given.features, dtype=dtype)
        slow, slow_log_det = flow(code, context)
        fast, fast_log_det = conditioned.forward(code)
        (slow_gradient,) = torch.autograd.grad((slow * push).sum() + slow_log_det.sum(), code)
        (fast_gradient,) = torch.autograd.grad((fast * push).sum() + fast_log_det.sum(), code)
        close("with its context fixed it maps codes elsewhere", fast, slow, tolerance)
        close("with its context fixed it has another log|det|", fast_log_det, slow_log_det, tolerance)
        close("with its context fixed it has another gradient", fast_gradient, slow_gradient, tolerance)
        back, log_det = conditioned.inverse(fast.detach())
        close("with its context fixed its inverse does not lead back", back, code.detach(), 10 * tolerance)
        close("log|det| of that inverse is wrong", log_det, -fast_log_det.detach(), 10 * tolerance)


def conditioned_rows(subject: Subject) -> None:
    flow, code, context = coupling.examined(subject, 4)
    everything, _ = flow.condition(context).forward(code)
    for index in (torch.tensor([3, 1, 1]), torch.tensor([True, False, True, True]), torch.zeros(0, dtype=torch.int64)):
        chosen, _ = flow.condition(context).rows(index).forward(code[index])
        close(f"rows({index.tolist()}) are not those of the whole", chosen, everything[index])


def initialization(subject: Subject) -> None:
    flow = subject.build(dtype=FLOAT64)
    code = 5.0 + 3.0 * normal(1, 300, subject.given.features, dtype=FLOAT64)
    context = None if subject.given.context == 0 else normal(2, 300, subject.given.context, dtype=FLOAT64)
    flow.initialize(code, context)
    assert flow.initialized, "the flow is still not initialized after initialize()"
    flow.eval()
    there, _ = flow(code, context)
    assert torch.isfinite(there).all(), "after initialize() codes are mapped to NaN or infinity"
    close("after initialize() the inverse does not lead back", flow.inverse(there, context)[0], code, 1e-7)


def inverse_initializes_nothing(subject: Subject) -> None:
    flow = subject.build(dtype=FLOAT64).train()
    code, context = code_of(subject, 3, 1, FLOAT64), context_of(subject, 3, 2, FLOAT64)
    before, was = {n: p.detach().clone() for n, p in flow.named_parameters()}, flow.initialized
    flow.eval().inverse(code, context)
    assert flow.initialized == was, "an inverse initialized the flow silently"
    for name, parameter in flow.named_parameters():
        assert torch.equal(before[name], parameter), f"an inverse changed parameter '{name}'"


CHECKS = [
    *coupling.CHECKS,
    Check("the conditioned flow agrees, gradient included", conditioned_agrees),
    Check("rows of the conditioned flow can be chosen", conditioned_rows),
    Check("initialization from data is stable", initialization),
    Check("an inverse initializes nothing", inverse_initializes_nothing),
]
