"""Checks couplings and flows: the inverse and the log-determinant, also for large weights and distant codes."""

from __future__ import annotations

from collections.abc import Mapping
from math import inf
from typing import Any

import torch
from torch import Tensor

from lipflow_core.hooks import Kind
from lipflow_core.testing.inputs import normal
from lipflow_core.testing.module import code_of, context_of
from lipflow_core.testing.subject import Check, Subject, close, refused

FLOAT64 = torch.float64
EXTREMES: Mapping[Kind, tuple[tuple[float, float, float], ...]] = {
    "coupling": ((0.1, 100.0, 1e-2), (0.5, 20.0, 1e-2), (1.0, 1.0, 1e-2), (2.0, 3.0, 1e-2), (2.0, 100.0, 1e-2)),
    "flow": ((0.1, 1.0, 1e-2), (0.1, 20.0, 1e-2), (0.3, 1.0, inf), (0.3, 20.0, inf), (0.3, 100.0, inf)),
}
"""Kind → trials: the standard deviation of noise on every parameter, that of the codes, and the largest allowed error
of f(f⁻¹(y)), relative to the largest entry of y and f⁻¹(y). Flows with random weights can be steeper than float32
resolves; for them any finite error is allowed."""

MANY = 1000
"""Number of codes in each of these trials."""


def examined(subject: Subject, batch: int) -> tuple[Any, Tensor, Tensor | None]:
    """Build the component in float64, away from its initial weights, and make codes and a context for it."""
    module = subject.build(jitter=0.1, dtype=FLOAT64)
    return module, code_of(subject, batch, 1, FLOAT64), context_of(subject, batch, 2, FLOAT64)


def _there_and_back(subject: Subject, where: str = "") -> tuple[Tensor, Tensor]:
    """Check that codes come back, and return log|det| of both ways."""
    module, code, context = examined(subject, 6)
    there, log_det = module(2 * code, context)
    back, inverse_log_det = module.inverse(there, context)
    close(f"{where}the inverse does not lead back to the code", back, 2 * code, 1e-7)
    return log_det, inverse_log_det


def inverse_undoes_forward(subject: Subject) -> None:
    log_det, inverse_log_det = _there_and_back(subject)
    close("log|det| of the inverse is not that of forward, negated", inverse_log_det, -log_det, 1e-7)


def unconditional_works(subject: Subject) -> None:
    _there_and_back(subject.with_given(context=0), "without context, ")


def odd_widths_work(subject: Subject) -> None:
    for features in (2, 5):
        _there_and_back(subject.with_given(features=features), f"with {features} features, ")


def log_det_agrees_with_autograd(subject: Subject) -> None:
    module, code, context = examined(subject, 4)
    _, log_det = module(code, context)
    for row in range(4):
        here = None if context is None else context[row : row + 1]
        jacobian = torch.autograd.functional.jacobian(lambda z, h=here: module(z[None], h)[0][0], code[row])
        exact = torch.linalg.slogdet(jacobian).logabsdet
        close("log|det| is not that of autograd's Jacobian", log_det[row], exact, 1e-7)


def volume_is_as_planned(subject: Subject) -> None:
    module, code, context = examined(subject, 4)
    _, log_det = module(code, context)
    if subject.planned.volume_preserving:
        close("log|det| varies, but its plan says volume_preserving", log_det, log_det[:1].expand(4))


def context_matters(subject: Subject) -> None:
    if subject.given.context == 0:
        return
    module, code, context = examined(subject, 3)
    one, _ = module(code, context)
    other, _ = module(code, context_of(subject, 3, 3, FLOAT64))
    assert not torch.allclose(one, other), "the context changes nothing"


def context_is_checked(subject: Subject) -> None:
    module = subject.build()
    code = code_of(subject, 3, 1, torch.float32)
    wrong = normal(1, 3, subject.given.context + 1)
    for context in (None, wrong) if subject.given.context else (wrong,):
        with refused(ValueError, "a wrong context is taken without an error"):
            module(code, context)


def plan_says_invertible(subject: Subject) -> None:
    assert subject.planned.invertible, "the plan must say invertible=True"


@torch.no_grad()
def extremes_are_survived(subject: Subject) -> None:
    for jitter, spread, allowed in EXTREMES[subject.part.kind]:
        module = subject.build(jitter=jitter)
        code = spread * normal(1, MANY, subject.given.features)
        context = None if subject.given.context == 0 else normal(2, MANY, subject.given.context)
        where = f"in float32, with noise of {jitter} on the weights and codes of standard deviation {spread}"
        there, log_det_there = module(code, context)
        back, log_det_back = module.inverse(code, context)
        again, log_det = module(back, context)
        made = {"f(x)": there, "log|det| of f(x)": log_det_there, "f⁻¹(y)": back, "log|det| of f⁻¹(y)": log_det_back}
        for name, value in {**made, "f(f⁻¹(y))": again, "log|det| of f(f⁻¹(y))": log_det}.items():
            bad = int((~torch.isfinite(value)).reshape(MANY, -1).any(1).sum())
            assert not bad, f"{name} is not finite for {bad} of {MANY} codes {where}"
        # Taken after both ways: where the map is steep, a small error of the code is a large one of what it maps to.
        size = torch.stack([code, back]).abs().amax(dim=(0, 2)).clamp(min=1)
        error = float(((again - code).abs().amax(1) / size).max())
        assert error <= allowed, f"f(f⁻¹(y)) is off by {error:.2g} of the code's size {where}"


CHECKS = [
    Check("inverse undoes forward", inverse_undoes_forward),
    Check("log|det| agrees with autograd's Jacobian", log_det_agrees_with_autograd),
    Check("volume is as planned", volume_is_as_planned),
    Check("the context matters", context_matters),
    Check("the context is checked", context_is_checked),
    Check("works without context", unconditional_works),
    Check("works for 2 and for 5 features", odd_widths_work),
    Check("the plan says that it is invertible", plan_says_invertible),
    Check("large weights and far codes are survived", extremes_are_survived),
]
