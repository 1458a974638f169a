"""Checks that objectives and metrics share: one value for each sample, from what the plan names and nothing else."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from lipflow_core.plans import Mismatch
from lipflow_core.testing.states import FLOAT64, Scene, scene
from lipflow_core.testing.subject import Check, Subject, close

LACKING = {"training": {"prior"}, "fitting": {"posterior", "divergence"}}
"""What a phase has not: phase → needs."""


def settings(subject: Subject) -> list[Subject]:
    """Give the subject in each setting that it is for: an objective in each phase that it plans for, a metric as is."""
    if subject.part.kind == "metric":
        return [subject]
    found, refusals = [], []
    for phase, lacking in LACKING.items():
        here = subject.with_given(phase=phase)
        try:
            missing = lacking & set(here.planned.needs)
        except Mismatch as refusal:
            refusals.append(f"in {phase}: {refusal}")
            continue
        if missing:
            refusals.append(f"{phase} has no {' and no '.join(sorted(missing))}, which it needs")
        else:
            found.append(here)
    assert found, f"it can be used neither in training nor in fitting: {'; '.join(refusals)}"
    return found


def value_of(subject: Subject, module: nn.Module, asked: Scene) -> Tensor:
    """Ask an objective or metric about a scene of which it sees what its plan needs."""
    seen = asked.seen(subject.planned.needs)
    return module(seen.state, seen.target)


def one_value_for_each_sample(subject: Subject) -> None:
    for here in settings(subject):
        module = here.build(dtype=FLOAT64)
        for batch in (0, 1, 3):
            value = value_of(here, module, scene(here, batch))
            assert value.shape == (batch,), f"for {batch} samples it has shape {tuple(value.shape)}, not ({batch},)"
            assert torch.isfinite(value).all(), f"it is not finite on sound input: {value.tolist()}"


def samples_are_independent(subject: Subject) -> None:
    for here in settings(subject):
        module = here.build(dtype=FLOAT64)
        together, alone = (value_of(here, module, scene(here, batch)) for batch in (3, 1))
        close("a sample's value depends on the others of its batch", together[:1], alone, 1e-9)


def needs_are_honest(subject: Subject) -> None:
    for here in settings(subject):
        module, needs, whole = here.build(dtype=FLOAT64), here.planned.needs, scene(here, 3)
        known = {*whole.leaves, *(f"target:{name}" for name in whole.target.observations)}
        known |= {need for need in needs if need.startswith("region:")}  # the core restricts the target's mask
        assert set(needs) <= known, f"its plan has needs that do not exist here: {sorted(set(needs) - known)}"
        exact, everything = whole.seen(needs), module(whole.state, whole.target)
        try:
            value = module(exact.state, exact.target)
        except Exception as error:
            what = f"{type(error).__name__}: {error}"
            raise AssertionError(f"it uses something that its plan's needs, {needs}, do not name: {what}") from error
        assert torch.equal(value, everything), f"it depends on something that its plan's needs, {needs}, do not name"
        for need in needs:
            fewer = whole.seen(each for each in needs if each != need)
            if _parts(fewer) == _parts(exact):
                continue  # another need brings the same
            try:
                unchanged = torch.equal(module(fewer.state, fewer.target), value)
            except Exception:
                continue
            assert not unchanged, f"its plan needs '{need}', but it does not use that"


def _parts(asked: Scene) -> list[object]:
    state = [getattr(asked.state, field.name) for field in fields(asked.state)]
    parts = [*state, asked.target.observations]
    return [part.keys() if hasattr(part, "keys") else part is None for part in parts]


def works_in_float32(subject: Subject) -> None:
    for here in settings(subject):
        value = value_of(here, here.build(), scene(here, 2, dtype=torch.float32))
        assert value.dtype == torch.float32, f"it is {value.dtype} for float32 inputs"
        assert torch.isfinite(value).all(), f"it is not finite in float32: {value.tolist()}"


def nothing_is_random(subject: Subject) -> None:
    for here in settings(subject):
        module, asked, before = here.build(dtype=FLOAT64), scene(here, 3), torch.random.get_rng_state()
        one, other = value_of(here, module, asked), value_of(here, module, asked)
        assert torch.equal(one, other), "it differs between two calls with the same input"
        assert torch.equal(before, torch.random.get_rng_state()), "it draws from torch's global generator"


CHECKS = [
    Check("one value for each sample", one_value_for_each_sample),
    Check("samples are independent", samples_are_independent),
    Check("it uses what its plan needs, and nothing else", needs_are_honest),
    Check("works in float32", works_in_float32),
    Check("nothing is random", nothing_is_random),
]
