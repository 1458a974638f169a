"""Checks of couplings: inverse and log-determinant."""

from __future__ import annotations

import torch

from lipflow_core.testing.kit import Check, Subject
from lipflow_core.testing.module import code_of, context_of

FLOAT64 = torch.float64


def inverse_undoes_forward(subject: Subject) -> None:
    module = subject.build(jitter=0.1, dtype=FLOAT64)
    code, context = 2 * code_of(subject, 6, 1, FLOAT64), context_of(subject, 6, 2, FLOAT64)
    there, log_det = module(code, context)
    back, inverse_log_det = module.inverse(there, context)
    torch.testing.assert_close(back, code, rtol=1e-7, atol=1e-7)
    torch.testing.assert_close(inverse_log_det, -log_det, rtol=1e-7, atol=1e-7)


def log_det_agrees_with_autograd(subject: Subject) -> None:
    module = subject.build(jitter=0.1, dtype=FLOAT64)
    code, context = code_of(subject, 4, 1, FLOAT64), context_of(subject, 4, 2, FLOAT64)
    _, log_det = module(code, context)
    for row in range(4):
        here = None if context is None else context[row : row + 1]
        jacobian = torch.autograd.functional.jacobian(lambda z, h=here: module(z[None], h)[0][0], code[row])
        torch.testing.assert_close(log_det[row], torch.linalg.slogdet(jacobian).logabsdet, rtol=1e-7, atol=1e-7)


def volume_is_as_planned(subject: Subject) -> None:
    module = subject.build(jitter=0.1, dtype=FLOAT64)
    _, log_det = module(code_of(subject, 4, 1, FLOAT64), context_of(subject, 4, 2, FLOAT64))
    if subject.planned.volume_preserving:
        torch.testing.assert_close(log_det, log_det[:1].expand(4), msg="log|det| varies, the plan says it does not")


def context_matters(subject: Subject) -> None:
    if subject.given.context == 0:
        return
    module = subject.build(jitter=0.1, dtype=FLOAT64)
    code = code_of(subject, 3, 1, FLOAT64)
    one, _ = module(code, context_of(subject, 3, 2, FLOAT64))
    other, _ = module(code, context_of(subject, 3, 3, FLOAT64))
    assert not torch.allclose(one, other), "the context changes nothing"


def unconditional_works(subject: Subject) -> None:
    free = subject.with_given(context=0)
    module = free.build(jitter=0.1, dtype=FLOAT64)
    code = code_of(free, 3, 1, FLOAT64)
    there, _ = module(code, None)
    back, _ = module.inverse(there, None)
    torch.testing.assert_close(back, code, rtol=1e-7, atol=1e-7)


def odd_widths_work(subject: Subject) -> None:
    for features in (2, 5):
        odd = subject.with_given(features=features)
        module = odd.build(jitter=0.1, dtype=FLOAT64)
        code, context = code_of(odd, 3, 1, FLOAT64), context_of(odd, 3, 2, FLOAT64)
        there, _ = module(code, context)
        torch.testing.assert_close(module.inverse(there, context)[0], code, rtol=1e-7, atol=1e-7)


def plan_says_invertible(subject: Subject) -> None:
    assert subject.planned.invertible, "the plan must say invertible=True"


CHECKS = [
    Check("inverse undoes forward", inverse_undoes_forward),
    Check("log|det| agrees with autograd's Jacobian", log_det_agrees_with_autograd),
    Check("volume is as planned", volume_is_as_planned),
    Check("the context matters", context_matters),
    Check("works without context", unconditional_works),
    Check("works for 2 and for 5 features", odd_widths_work),
    Check("the plan says that it is invertible", plan_says_invertible),
]
