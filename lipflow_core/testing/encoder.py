"""Checks observation encoders: shapes, the predicted Gaussian, and augmentation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from lipflow_core.records import Record
from lipflow_core.testing.module import observed_by, outputs
from lipflow_core.testing.subject import Check, Subject, refused


def plan_agrees_with_reality(subject: Subject) -> None:
    planned, encoder = subject.planned, subject.build()
    assert len(planned.needs) == 1, f"an encoder's plan needs one observation, its modality, not {planned.needs}"
    lacking = {"mean", "log_std", "features"} - planned.outputs.keys()
    assert not lacking, f"its plan lacks the outputs {', '.join(sorted(lacking))}"
    for name, value in outputs(subject, encoder, 2).items():
        got = tuple(value.shape[1:])
        assert got == planned.outputs[name], f"{name} has shape {got}, its plan says {planned.outputs[name]}"
    for name in ("mean", "log_std"):
        shape, code = planned.outputs[name], subject.given.code
        assert shape == (code,), f"{name} is planned with shape {shape}, but the code has size {code}"


def gaussian_is_usable(subject: Subject) -> None:
    log_std = outputs(subject, subject.build(), 4)["log_std"]
    assert torch.isfinite(log_std).all(), "log_std is not finite before training"
    largest = float(log_std.detach().abs().max())
    assert largest < 20, f"log_std reaches ±{largest:.3g} before training, which is out of any sensible range"


def input_is_checked(subject: Subject) -> None:
    with refused(Exception, "encoding None does not fail"):
        subject.build()(None)


def augmentation_follows_its_streams(subject: Subject) -> None:
    encoder, observed = subject.build(), observed_by(subject, subject.build(), 3, 1, torch.float32)
    before, numpy_before = torch.random.get_rng_state(), _numpy_state()
    one, same, other = (_augmented(encoder, observed, seed) for seed in (1, 1, 2))
    assert _equal(one, same), "augmenting twice with the same random streams gives two results"
    if not _equal(one, observed):
        assert not _equal(one, other), "augmenting with other random streams gives the same result"
    assert torch.equal(before, torch.random.get_rng_state()), "augmenting draws from torch's global generator"
    assert numpy_before == _numpy_state(), "augmenting draws from numpy's global generator"


def augmentation_of_samples_is_independent(subject: Subject) -> None:
    encoder, observed = subject.build(), observed_by(subject, subject.build(), 3, 1, torch.float32)
    together = _augmented(encoder, observed, 1)
    last = torch.tensor([2])
    alone = encoder.augment(observed.rows(last), [_stream(1, 2)])
    assert _equal(together.rows(last), alone), "the augmentation of a sample depends on its place among others"


def augmentation_keeps_what_it_is_given(subject: Subject) -> None:
    encoder, observed = subject.build(), observed_by(subject, subject.build(), 3, 1, torch.float32)
    before = observed.apply(torch.clone)
    augmented = _augmented(encoder, observed, 1)
    assert _equal(observed, before), "augmenting changes the observation that it is given, in place"
    given, made = type(observed).__name__, type(augmented).__name__
    assert made == given, f"augmenting a {given} makes a {made}"
    for (name, was), (_, now) in zip(before.tensors(), augmented.tensors(), strict=True):
        shapes = f"{tuple(was.shape)} → {tuple(now.shape)}"
        assert was.shape == now.shape, f"augmenting changes the shape of {name}: {shapes}"
        assert was.dtype == now.dtype, f"augmenting changes the type of {name}: {was.dtype} → {now.dtype}"
        assert torch.isfinite(now).all(), f"{name} is not finite after augmenting"


def _augmented(encoder: Any, observed: Record, seed: int) -> Record:
    return encoder.augment(observed, [_stream(seed, row) for row in range(3)])


def _numpy_state() -> tuple[bytes, int]:
    state: Any = np.random.get_state(legacy=False)["state"]
    return state["key"].tobytes(), state["pos"]


def _stream(seed: int, row: int) -> np.random.Generator:
    return np.random.default_rng([seed, row])


def _equal(one: Record, other: Record) -> bool:
    pairs = zip(one.tensors(), other.tensors(), strict=True)
    return all(a.shape == b.shape and torch.equal(a, b) for (_, a), (_, b) in pairs)


CHECKS = [
    Check("plan agrees with reality", plan_agrees_with_reality),
    Check("the Gaussian is usable from the start", gaussian_is_usable),
    Check("input is checked", input_is_checked),
    Check("augmentation follows its random streams", augmentation_follows_its_streams),
    Check("augmentation of a sample does not depend on others", augmentation_of_samples_is_independent),
    Check("augmentation keeps its input, types and shapes", augmentation_keeps_what_it_is_given),
]
