"""Checks objectives and metrics alike: one value for each sample, computed from the plan's `needs` alone."""

from __future__ import annotations

from dataclasses import fields

import torch
from torch import Tensor, nn

from lipflow_core.testing.states import FLOAT64, Scene, scene
from lipflow_core.testing.subject import Check, Subject, close


def value_of(subject: Subject, module: nn.Module, asked: Scene) -> Tensor:
    """Evaluate an objective or metric on the parts of a scene that its plan's `needs` name."""
    seen = asked.seen(subject.planned.needs)
    return module(seen.state, seen.target)


def one_value_for_each_sample(subject: Subject) -> None:
    module = subject.build(dtype=FLOAT64)
    for batch in (0, 1, 3):
        value = value_of(subject, module, scene(subject, batch))
        assert value.shape == (batch,), f"for {batch} samples it has shape {tuple(value.shape)}, not ({batch},)"
        assert torch.isfinite(value).all(), f"it is not finite on sound input: {value.tolist()}"


def samples_are_independent(subject: Subject) -> None:
    module = subject.build(dtype=FLOAT64)
    together, alone = (value_of(subject, module, scene(subject, batch)) for batch in (3, 1))
    close("a sample's value depends on the others of its batch", together[:1], alone, 1e-9)


def needs_are_honest(subject: Subject) -> None:
    module, needs, whole = subject.build(dtype=FLOAT64), subject.planned.needs, scene(subject, 3)
    known = {*whole.leaves, *(f"target:{name}" for name in whole.target.observations)}
    known |= {need for need in needs if need.startswith("region:")}  # the core restricts the target's mask
    assert set(needs) <= known, f"its plan has needs that do not exist here: {sorted(set(needs) - known)}"
    of_training = {"posterior", "divergence"} & set(needs)
    assert "prior" not in needs or not of_training, (
        f"its plan needs 'prior', which only fitting has, and {', '.join(of_training)}, which only training has"
    )
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
    value = value_of(subject, subject.build(), scene(subject, 2, dtype=torch.float32))
    assert value.dtype == torch.float32, f"it is {value.dtype} for float32 inputs"
    assert torch.isfinite(value).all(), f"it is not finite in float32: {value.tolist()}"


def nothing_is_random(subject: Subject) -> None:
    module, asked, before = subject.build(dtype=FLOAT64), scene(subject, 3), torch.random.get_rng_state()
    one, other = value_of(subject, module, asked), value_of(subject, module, asked)
    assert torch.equal(one, other), "it differs between two calls with the same input"
    assert torch.equal(before, torch.random.get_rng_state()), "it draws from torch's global generator"


CHECKS = [
    Check("one value for each sample", one_value_for_each_sample),
    Check("samples are independent", samples_are_independent),
    Check("it uses what its plan needs, and nothing else", needs_are_honest),
    Check("works in float32", works_in_float32),
    Check("nothing is random", nothing_is_random),
]
