"""Checks of temporal priors, on runs of random codes."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lipflow_core.testing.inputs import normal
from lipflow_core.testing.subject import Check, Subject, close

FLOAT64 = torch.float64


def follows_of(*lengths: int) -> Tensor:
    """Mark the frames of runs of these lengths that follow the frame before, (N,) bool."""
    return torch.cat([torch.arange(length) > 0 for length in lengths] or [torch.zeros(0, dtype=torch.bool)])


def path_of(subject: Subject, frames: int, *, seed: int = 0, dtype: torch.dtype = FLOAT64) -> Tensor:
    """Draw random codes (N, D); frame i of a seed is the same for any number of frames."""
    code = subject.given.code
    return torch.stack(
        [normal(1000 * seed + frame, code, dtype=dtype) for frame in range(frames)] or [torch.zeros(code, dtype=dtype)]
    )[:frames]


def one_share_for_each_frame(subject: Subject) -> None:
    temporal = subject.build(dtype=FLOAT64)
    for lengths in ((), (1,), (1, 1), (5,), (3, 1, 4)):
        share = temporal(path_of(subject, sum(lengths)), follows_of(*lengths))
        assert share.isfinite().all(), f"for runs of {lengths} frames it is not finite: {share.tolist()}"


def runs_are_independent(subject: Subject) -> None:
    temporal = subject.build(dtype=FLOAT64)
    path, follows = path_of(subject, 9), follows_of(4, 2, 3)
    together, first = temporal(path, follows), 0
    for length in (4, 2, 3):
        rows = slice(first, first + length)
        close("a run's energy depends on other runs", together[rows], temporal(path[rows], follows[rows]), 1e-9)
        first += length


def a_spoilt_run_leaves_others_alone(subject: Subject) -> None:
    temporal, follows = subject.build(dtype=FLOAT64), follows_of(3, 1, 3)
    path = path_of(subject, 7)
    path[3] = torch.nan
    others = torch.arange(7) != 3
    path.requires_grad_(True)
    share = temporal(path, follows)
    assert share[others].isfinite().all(), "a run whose code is NaN makes the energy of others NaN"
    (slope,) = torch.autograd.grad(share[others].sum(), path)
    assert slope[others].isfinite().all(), "a run whose code is NaN makes the gradient of others NaN"


def a_still_run_is_likelier(subject: Subject) -> None:
    temporal, follows = subject.build(dtype=FLOAT64), follows_of(8)
    still = temporal(torch.zeros(8, subject.given.code, dtype=FLOAT64), follows).sum()
    jittery = temporal(path_of(subject, 8), follows).sum()
    assert still < jittery, f"the energy of a run that stays at zero is {still}, that of random codes {jittery}"


def frames_of_a_run_are_coupled(subject: Subject) -> None:
    temporal, follows = subject.build(dtype=FLOAT64), follows_of(3)

    def slope(path: Tensor) -> Tensor:
        path = path.clone().requires_grad_(True)
        (found,) = torch.autograd.grad(temporal(path, follows).sum(), path, materialize_grads=True)
        return found

    path = path_of(subject, 3)
    changed = path.clone()
    changed[1] += 1
    difference = (slope(changed) - slope(path)).abs().amax(dim=1)
    assert difference[0] > 0 and difference[2] > 0, "a frame's gradient does not depend on the frames beside it"


def gradient_agrees_with_differences(subject: Subject) -> None:
    temporal, follows = subject.build(dtype=FLOAT64), follows_of(4, 1, 2)
    path, direction = path_of(subject, 7).requires_grad_(True), path_of(subject, 7, seed=1)
    (slope,) = torch.autograd.grad(temporal(path, follows).sum(), path)
    with torch.no_grad():
        ahead, behind = (temporal(path + step * direction, follows).sum() for step in (1e-5, -1e-5))
    close("its gradient is not its slope", (slope * direction).sum(), (ahead - behind) / 2e-5, 1e-5)


def types_are_kept(subject: Subject) -> None:
    for dtype in (torch.float32, FLOAT64):
        share = subject.build(dtype=dtype)(path_of(subject, 3, dtype=dtype), follows_of(3))
        assert share.dtype == dtype, f"it makes {share.dtype} of {dtype}"


def nothing_is_random(subject: Subject) -> None:
    before = torch.random.get_rng_state()
    one, other = (subject.build(dtype=FLOAT64)(path_of(subject, 5), follows_of(5)) for _ in range(2))
    assert torch.equal(one, other), "it differs between two calls with the same input"
    assert torch.equal(before, torch.random.get_rng_state()), "it draws from torch's global generator"


def arguments_are_left_alone(subject: Subject) -> None:
    path, follows = path_of(subject, 5), follows_of(3, 2)
    subject.build(dtype=FLOAT64)(path, follows)
    assert torch.equal(path, path_of(subject, 5)), "it changes the path in place"
    assert torch.equal(follows, follows_of(3, 2)), "it changes `follows` in place"


def weight_is_left_to_the_core(subject: Subject) -> None:
    share = []
    for weight in (1.0, 3.0):
        part = replace(subject.part, config=subject.part.config.model_copy(update={"weight": weight}))
        share.append(replace(subject, part=part).build(dtype=FLOAT64)(path_of(subject, 4), follows_of(4)))
    close("the energy is already multiplied by its weight", share[1], share[0])


def needs_are_known(subject: Subject) -> None:
    unknown = set(subject.planned.needs) - {"base"}
    assert not unknown, f"its plan needs {', '.join(sorted(unknown))}; a temporal prior may need 'base' alone"


CHECKS = [
    Check("one share of the energy for each frame", one_share_for_each_frame),
    Check("runs are independent", runs_are_independent),
    Check("a run that is not finite leaves others alone", a_spoilt_run_leaves_others_alone),
    Check("a still run is likelier than a jittery one", a_still_run_is_likelier),
    Check("frames of a run are coupled", frames_of_a_run_are_coupled),
    Check("the gradient agrees with finite differences", gradient_agrees_with_differences),
    Check("types are kept", types_are_kept),
    Check("nothing is random", nothing_is_random),
    Check("arguments are left as they are", arguments_are_left_alone),
    Check("the weight is left to the core", weight_is_left_to_the_core),
    Check("its needs are known", needs_are_known),
]
