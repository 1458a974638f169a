"""Checks of fitting objectives, on a state whose decoded face, pictures and prior are random."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from lipflow_core.interfaces import ConditionedPrior, State
from lipflow_core.records import FaceState, Frame, Rendering
from lipflow_core.testing import inputs
from lipflow_core.testing.kit import Check, Subject
from lipflow_core.testing.module import rows

FLOAT64 = torch.float64


class UnitGaussian(ConditionedPrior):
    """N(0, I) on the code: a prior that every objective can be tried with."""

    def log_prob(self, code: Tensor) -> Tensor:
        return -0.5 * (code.square() + math.log(2 * math.pi)).sum(-1)

    def mode(self) -> Tensor:
        return torch.zeros(1, inputs.CODE, dtype=FLOAT64)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, 1, inputs.CODE, generator=generator, dtype=FLOAT64)

    def rows(self, index: Tensor) -> ConditionedPrior:
        return self


def state_and_target(
    batch: int, *, seed: int = 0, dtype: torch.dtype = FLOAT64
) -> tuple[State, Frame, dict[str, Tensor]]:
    """A fitting state with everything that an objective can need, its target, and the state's differentiable leaves.

    Args:
        batch: Number of rows; row i is the same whatever the batch.
        seed: Of the content.
        dtype: Of all tensors.
    """
    target = rows(lambda n: inputs.frame(n, seed=seed, dtype=dtype), batch)
    template = inputs.template(dtype)

    def normal(number: int, *shape: int) -> Tensor:
        return rows(lambda n: inputs.normal(seed + number, n, *shape, dtype=dtype), batch)

    leaves = {
        "code": normal(40, inputs.CODE),
        "vertices": template.vertices_mean + 3.0 * normal(41, inputs.VERTICES, 3),
    }
    renderings, cameras = {}, {"keypoints": target["keypoints"].camera}
    for offset, (name, (views, _, height, width)) in enumerate(inputs.VIEWS.items()):
        image = 0.5 + 0.2 * normal(42 + offset, views, 3, height, width)
        leaves[f"render:{name}"] = image
        cameras[name] = target[name].camera
    leaves = {name: leaf.requires_grad_() for name, leaf in leaves.items()}
    for name, (views, _, height, width) in inputs.VIEWS.items():
        image = leaves[f"render:{name}"].reshape(batch * views, 3, height, width)
        pixels = torch.ones(batch * views, height, width, dtype=dtype)
        renderings[name] = Rendering(
            image=image,
            coverage=pixels,
            depth=400 * pixels,
            triangle=torch.zeros(batch * views, height, width, dtype=torch.int64),
            barycentric=torch.ones(batch * views, 3, height, width, dtype=dtype) / 3,
        )
    state = State(
        code=leaves["code"],
        prior=UnitGaussian(),
        template=template,
        face=FaceState(leaves["vertices"]),
        renderings=renderings,
        cameras=cameras,
    )
    return state, target, leaves


def loss_has_one_value_per_row(subject: Subject) -> None:
    objective = subject.build(dtype=FLOAT64)
    for batch in (0, 1, 3):
        state, target, _ = state_and_target(batch)
        loss = objective(state, target)
        assert loss.shape == (batch,) and torch.isfinite(loss).all()


def rows_are_independent(subject: Subject) -> None:
    objective = subject.build(dtype=FLOAT64)
    together, alone = (objective(*state_and_target(batch)[:2]) for batch in (3, 1))
    torch.testing.assert_close(together[:1], alone, rtol=1e-9, atol=1e-9)


def gradients_reach_what_it_needs(subject: Subject) -> None:
    objective = subject.build(dtype=FLOAT64)
    state, target, leaves = state_and_target(3)
    objective(state, target).sum().backward()
    wanted = {"prior": "code"}
    for need in objective.planned.needs:
        if need.startswith("target:"):
            continue
        gradient = leaves[wanted.get(need, need)].grad
        assert gradient is not None and gradient.abs().max() > 0, f"it says that it needs '{need}' but does not use it"
        assert torch.isfinite(gradient).all()
    unasked = {wanted.get(need, need) for need in objective.planned.needs}
    for name, leaf in leaves.items():
        assert name in unasked or leaf.grad is None, f"it uses '{name}' without saying so in its plan's needs"


def works_in_float32(subject: Subject) -> None:
    state, target, _ = state_and_target(2, dtype=torch.float32)
    loss = subject.build()(state, target)
    assert loss.dtype == torch.float32 and torch.isfinite(loss).all()


def weight_is_left_to_the_core(subject: Subject) -> None:
    part, loss = subject.part, []
    for weight in (1.0, 3.0):
        config = part.config.model_copy(update={"weight": weight})
        objective = type(part)(part.kind, part.component, part.distribution, config).build(subject.given).double()
        loss.append(objective(*state_and_target(2)[:2]))
    torch.testing.assert_close(loss[0], loss[1], msg="the loss is already multiplied by its weight")


CHECKS = [
    Check("one loss for each row", loss_has_one_value_per_row),
    Check("rows are independent", rows_are_independent),
    Check("gradients reach what the plan needs, and nothing else", gradients_reach_what_it_needs),
    Check("works in float32", works_in_float32),
    Check("the weight is left to the core", weight_is_left_to_the_core),
]
