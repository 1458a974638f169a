"""Checks metrics, in addition to the checks that they share with objectives."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from lipflow_core.plans import Needs, Plan
from lipflow_core.records import FaceState
from lipflow_core.testing.states import FLOAT64, Scene, scene
from lipflow_core.testing.subject import Check, Subject
from lipflow_core.testing.term import value_of

CLASS_VARIABLES = {"heading": str, "unit": str, "digits": int, "higher_is_better": bool, "definition": str}
"""Class variables of a metric's Config, and their types."""

SHOWN = ("mask", "visible")
"""Tensors of a target that tell which of its pixels or keypoints are compared."""


def class_variables_are_complete(subject: Subject) -> None:
    config: Any = type(subject.part.config)
    for name, kind in CLASS_VARIABLES.items():
        value = getattr(config, name, None)
        assert type(value) is kind, f"{config.__name__}.{name} must be a {kind.__name__}, it is {value!r}"
    for name in ("heading", "definition"):
        assert getattr(config, name).strip(), f"{config.__name__}.{name} is empty"
    assert "\n" not in config.heading + config.unit, f"heading and unit of {config.__name__} must be one line"
    assert 0 <= config.digits <= 8, f"{config.__name__}.digits is {config.digits}, not between 0 and 8"


def needs_nothing_of_the_prior(subject: Subject) -> None:
    refused = {"prior", "posterior", "divergence"} & set(subject.planned.needs)
    assert not refused, f"metrics score decoded codes, but its plan needs {', '.join(sorted(refused))}"


def nan_where_nothing_can_be_scored(subject: Subject) -> None:
    metric, asked = subject.build(dtype=FLOAT64), scene(subject, 3)
    sound = value_of(subject, metric, asked).detach()
    for what, spoilt in _spoilt(asked, subject.planned).items():
        value = value_of(subject, metric, spoilt).detach()
        assert value[1].isnan(), f"where {what}, the score must be NaN, it is {float(value[1])}"
        others = torch.tensor([0, 2])
        assert torch.equal(value[others], sound[others]), f"where {what} in one sample, the scores of others change"


def truth_is_best(subject: Subject) -> None:
    metric = subject.build(dtype=FLOAT64)
    true, other = (value_of(subject, metric, scene(subject, 3, true=true)) for true in (True, False))
    higher = getattr(type(subject.part.config), "higher_is_better", False)
    better = true > other if higher else true < other
    assert better.all(), (
        f"with the target's own surface and pictures it scores {true.tolist()}, with random ones {other.tolist()}: "
        f"its Config says that {'higher' if higher else 'lower'} is better"
    )


def _spoilt(asked: Scene, planned: Plan) -> dict[str, Scene]:
    """Spoil sample 1 in each way that makes a score impossible, and return the scenes by what is wrong, as a clause."""
    found, state, target = {}, asked.state, asked.target
    if "vertices" in planned.needs:
        face = FaceState(_with(asked.leaves["vertices"], slice(1, 2), torch.nan))
        found["decoded vertices are NaN"] = replace(asked, state=replace(state, face=face))
    made = Needs.of([planned])
    if made.neighbours:
        neighbours = _with(asked.leaves["neighbours"], slice(1, 2), torch.nan)
        found["the frame before or after is missing"] = replace(asked, state=replace(state, neighbours=neighbours))
    if made.pose:
        pose = _with(asked.leaves["pose"], slice(1, 2), torch.nan)
        found["the pose is NaN"] = replace(asked, state=replace(state, pose=pose))
    for name in made.rendered:
        views = state.cameras[name].extrinsics.shape[1]
        image = _with(state.renderings[name].image, slice(views, 2 * views), torch.nan)
        renderings = {**state.renderings, name: replace(state.renderings[name], image=image)}
        found[f"pictures drawn of '{name}' are NaN"] = replace(asked, state=replace(state, renderings=renderings))
    hidden = {name: _hidden(target[name]) for name in made.targets}
    if hidden and all(record is not None for record in hidden.values()):
        shown = replace(target, observations={**target.observations, **hidden})
        found[f"{' and '.join(hidden)} show nothing"] = replace(asked, target=shown)
    return found


def _hidden(record: Any) -> Any:
    """Hide all of sample 1 in a record; None if the record has no tensor that can hide it."""
    shown = {name: tensor for name, tensor in record.tensors() if name in SHOWN}
    if not shown:
        return None
    return replace(record, **{name: _with(tensor, slice(1, 2), 0) for name, tensor in shown.items()})


def _with(tensor: Tensor, rows: slice, value: float) -> Tensor:
    changed = tensor.detach().clone()
    changed[rows] = value
    return changed


CHECKS = [
    Check("the class variables of its Config are complete", class_variables_are_complete),
    Check("it needs nothing of the prior", needs_nothing_of_the_prior),
    Check("NaN where nothing can be scored, and nowhere else", nan_where_nothing_can_be_scored),
    Check("the truth scores best, in the direction that its Config says", truth_is_best),
]
