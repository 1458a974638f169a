"""Checks of observation encoders."""

from __future__ import annotations

import torch

from lipflow_core.testing.kit import Check, Subject
from lipflow_core.testing.module import outputs


def plan_agrees_with_reality(subject: Subject) -> None:
    planned = subject.planned
    assert len(planned.needs) == 1, "an encoder's plan must need one observation, its modality"
    assert set(planned.outputs) >= {"mean", "log_std", "features"}
    for name, value in outputs(subject, subject.build(), 2).items():
        assert tuple(value.shape[1:]) == planned.outputs[name], (
            f"{name} has shape {tuple(value.shape[1:])}, the plan says {planned.outputs[name]}"
        )
    assert planned.outputs["mean"] == planned.outputs["log_std"] == (subject.given.code,)


def gaussian_is_usable(subject: Subject) -> None:
    encoding = outputs(subject, subject.build(), 4)
    assert torch.isfinite(encoding["log_std"]).all()
    assert encoding["log_std"].abs().max() < 20, "standard deviations start out of any sensible range"


def input_is_checked(subject: Subject) -> None:
    module = subject.build()
    try:
        module(None)
    except Exception:
        return
    raise AssertionError("encoding nothing at all does not fail")


CHECKS = [
    Check("plan agrees with reality", plan_agrees_with_reality),
    Check("the Gaussian is usable from the start", gaussian_is_usable),
    Check("input is checked", input_is_checked),
]
