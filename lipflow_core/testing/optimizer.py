"""Checks of optimizers, on losses whose derivatives are known: bowls, a valley for each row."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from lipflow_core.interfaces import LossAtPoint, Optimizer
from lipflow_core.records import Record
from lipflow_core.testing.inputs import normal
from lipflow_core.testing.subject import Check, Subject, close

FLOAT64 = torch.float64
STEPS = 60
"""Steps in which every optimizer must halve the loss of a bowl."""


@dataclass(frozen=True)
class Bowls(Record):
    """Losses of B rows: ½ dᵀ A d + Σ d⁴ / 10, with d the offset from the row's centre.

    Args:
        centre: (B, P).
        matrix: (B, P, P), A: symmetric, eigenvalues from 0.1 to 10.
    """

    centre: Tensor
    matrix: Tensor

    @classmethod
    def of(cls, subject: Subject, rows: int, *, seed: int = 0, dtype: torch.dtype = FLOAT64) -> Bowls:
        """Make bowls for a subject; bowl i of a seed is the same for any number of rows."""
        code, pose = subject.given.code, subject.given.pose
        # A pose changes little in its units.
        reach = torch.cat([torch.ones(code, dtype=FLOAT64), torch.full((pose,), 0.1, dtype=FLOAT64)])
        made = []
        for row in range(rows):
            turn = torch.linalg.qr(normal(100 * seed + row, code + pose, code + pose, dtype=FLOAT64)).Q
            matrix = turn @ torch.diag(torch.logspace(-1, 1, code + pose, dtype=FLOAT64)) @ turn.mT
            made.append((reach * normal(100 * seed + row + 50, code + pose, dtype=FLOAT64), matrix))
        centre = torch.stack([centre for centre, _ in made]) if made else torch.zeros(0, code + pose, dtype=FLOAT64)
        matrix = torch.stack([m for _, m in made]) if made else torch.zeros(0, *2 * (code + pose,), dtype=FLOAT64)
        return cls(centre.to(dtype), matrix.to(dtype))

    def evaluate(self, parameters: Tensor) -> LossAtPoint:
        """Compute losses and derivatives at parameters (B, P)."""
        offset = parameters - self.centre
        slope = torch.einsum("bij,bj->bi", self.matrix, offset)
        hessian = self.matrix + torch.diag_embed(1.2 * offset.square())
        return LossAtPoint(
            loss=0.5 * (offset * slope).sum(1) + 0.1 * offset.pow(4).sum(1),
            gradient=slope + 0.4 * offset.pow(3),
            sound=torch.ones(len(offset), dtype=torch.bool),
            curvature=lambda rows: hessian[rows],
        )


@dataclass(frozen=True)
class Walk(Record):
    """Rows on their way: what they descend, where they are, their state, and the lowest loss so far (B,)."""

    bowls: Bowls
    parameters: Tensor
    state: Record
    lowest: Tensor

    @classmethod
    def start(cls, optimizer: Optimizer, bowls: Bowls, learning_rate: Tensor | None = None) -> Walk:
        """Begin at zero."""
        parameters = torch.zeros_like(bowls.centre)
        state = optimizer.start(parameters.clone(), learning_rate)
        return cls(bowls, parameters, state, bowls.evaluate(parameters).loss)

    def walk(self, optimizer: Optimizer, steps: int, **spoilt: Any) -> Walk:
        """Take steps; `spoilt` replaces tensors of each evaluation, given as functions of it."""
        here = self
        for _ in range(steps):
            evaluation = here.bowls.evaluate(here.parameters)
            lowest = torch.minimum(here.lowest, evaluation.loss)
            changes = {name: change(getattr(evaluation, name)) for name, change in spoilt.items()}
            evaluation = LossAtPoint(**{**vars(evaluation), **changes})
            parameters, state = optimizer.update(here.parameters.clone(), evaluation, here.state)
            here = Walk(here.bowls, parameters, state, lowest)
        return here


def it_lowers_the_loss(subject: Subject) -> None:
    optimizer, bowls = subject.build(), Bowls.of(subject, 4)
    first = Walk.start(optimizer, bowls)
    left = (first.walk(optimizer, STEPS).lowest / first.lowest).tolist()
    assert max(left) < 0.5, f"after {STEPS} steps, these shares of the rows' losses are left: {left}"


def rows_are_independent(subject: Subject) -> None:
    optimizer, bowls = subject.build(), Bowls.of(subject, 3)
    others = Bowls.join([bowls.rows(torch.tensor([0])), Bowls.of(subject, 2, seed=3)])
    for steps in (1, 12):
        one, other = (Walk.start(optimizer, each).walk(optimizer, steps).parameters[0] for each in (bowls, others))
        close("a row depends on the others of its batch", one, other, 1e-9)


def rows_join_and_leave(subject: Subject) -> None:
    optimizer, bowls = subject.build(), Bowls.of(subject, 4)
    early = Walk.start(optimizer, bowls.rows(torch.tensor([0, 1]))).walk(optimizer, 4)
    late = Walk.start(optimizer, bowls.rows(torch.tensor([2, 3])))
    mixed = Walk.join([late, early.rows(torch.tensor([1]))]).walk(optimizer, 6)
    for place, (row, steps) in enumerate([(2, 6), (3, 6), (1, 10)]):
        fresh = subject.build()
        alone = Walk.start(fresh, bowls.rows(torch.tensor([row]))).walk(fresh, steps)
        close("a row that joins or leaves a batch goes another way", mixed.parameters[place], alone.parameters[0], 1e-9)


def a_spoilt_row_leaves_others_alone(subject: Subject) -> None:
    optimizer, bowls = subject.build(), Bowls.of(subject, 3)
    bad = torch.tensor([False, True, False])
    spoilt = {
        "loss": lambda loss: torch.where(bad, torch.nan, loss),
        "gradient": lambda gradient: torch.where(bad[:, None], 0, gradient),
        "sound": lambda sound: sound & ~bad,
    }
    start = Walk.start(optimizer, bowls).walk(optimizer, 3)
    one, other = start.walk(subject.build(), 6, **spoilt), start.walk(subject.build(), 6)
    close("a row whose loss is NaN changes others", one.parameters[~bad], other.parameters[~bad], 1e-9)


def a_gradient_that_is_not_finite_is_survived(subject: Subject) -> None:
    optimizer, bowls = subject.build(), Bowls.of(subject, 3)
    without = {"gradient": torch.zeros_like, "sound": torch.zeros_like}
    for before in (0, 3):
        start = Walk.start(optimizer, bowls).walk(optimizer, before)
        after = start.walk(optimizer, 1, **without).walk(optimizer, STEPS)
        assert after.parameters.isfinite().all(), "after a step without a finite gradient the parameters are not finite"
        assert (after.lowest < 0.5 * Walk.start(optimizer, bowls).lowest).all(), (
            "after a step without a finite gradient it does not lower the loss any more"
        )


def types_are_kept(subject: Subject) -> None:
    for dtype in (torch.float32, FLOAT64):
        optimizer = subject.build()
        walk = Walk.start(optimizer, Bowls.of(subject, 2, dtype=dtype)).walk(optimizer, 1)
        assert walk.parameters.dtype == dtype, f"it makes {walk.parameters.dtype} of {dtype}"


def works_for_few_rows(subject: Subject) -> None:
    optimizer = subject.build()
    for rows in (0, 1):
        walk = Walk.start(optimizer, Bowls.of(subject, rows)).walk(optimizer, 3)
        assert walk.parameters.shape[0] == rows, f"for {rows} rows it gives {walk.parameters.shape[0]}"


def nothing_is_random(subject: Subject) -> None:
    before = torch.random.get_rng_state()
    one, other = (Walk.start(o, Bowls.of(subject, 2)).walk(o, 5) for o in (subject.build(), subject.build()))
    assert torch.equal(one.parameters, other.parameters), "it differs between two runs"
    assert torch.equal(before, torch.random.get_rng_state()), "it draws from torch's global generator"


def arguments_are_left_alone(subject: Subject) -> None:
    optimizer, bowls = subject.build(), Bowls.of(subject, 2)
    for steps in (0, 1, 4):
        walk = Walk.start(optimizer, bowls).walk(optimizer, steps)
        parameters, evaluation = walk.parameters.clone(), bowls.evaluate(walk.parameters)
        given = {"the parameters": parameters, "the loss": evaluation.loss, "the gradient": evaluation.gradient}
        given |= {f"{name} of the state": tensor for name, tensor in walk.state.tensors()}
        before = {name: tensor.clone() for name, tensor in given.items()}
        optimizer.update(parameters, evaluation, walk.state)
        changed = [name for name, tensor in given.items() if not torch.equal(tensor, before[name])]
        assert not changed, f"it changes {', '.join(changed)} in place"


def learning_rates_of_rows_count(subject: Subject) -> None:
    if "learning_rate" not in type(subject.part.config).model_fields:
        return
    rates, bowls, optimizer = torch.tensor([0.02, 0.3], dtype=FLOAT64), Bowls.of(subject, 2), subject.build()
    together = Walk.start(optimizer, bowls, rates).walk(optimizer, 5)
    for row, rate in enumerate(rates.tolist()):
        own = subject.part.config.model_copy(update={"learning_rate": rate})
        single = type(optimizer)(own, subject.given)
        alone = Walk.start(single, bowls.rows(torch.tensor([row]))).walk(single, 5)
        close("a row's own learning rate is not used", together.parameters[row], alone.parameters[0], 1e-9)


def convergence_is_told_row_by_row(subject: Subject) -> None:
    optimizer, bowls = subject.build(), Bowls.of(subject, 3)
    for steps in (1, 6, STEPS):
        told = optimizer.converged(Walk.start(optimizer, bowls).walk(optimizer, steps).state)
        if told is None:
            continue
        assert told.dtype == torch.bool and told.shape == (3,), f"converged must be (B,) bool, it is {told}"
        single = bowls.rows(torch.tensor([1]))
        alone = optimizer.converged(Walk.start(optimizer, single).walk(optimizer, steps).state)
        assert bool(alone[0]) == bool(told[1]), f"after {steps} steps a row's convergence depends on its batch"


def curvature_is_asked_for_as_planned(subject: Subject) -> None:
    if "curvature" in subject.planned.needs:
        return

    def refuse(rows: Tensor) -> Tensor:
        raise AssertionError("it asks for curvature, which its plan's needs must name")

    optimizer = subject.build()
    Walk.start(optimizer, Bowls.of(subject, 2)).walk(optimizer, 3, curvature=lambda _: refuse)


def coupled_rows_are_minimised_as_planned(subject: Subject) -> None:
    if not subject.planned.coupled_rows:
        return
    optimizer, bowls = subject.build(), Bowls.of(subject, 6)
    pull = 10.0

    def total(parameters: Tensor) -> Tensor:
        step = (parameters[1:] - parameters[:-1]).square().sum(dim=1)
        pad = step.new_zeros(1)
        return bowls.evaluate(parameters).loss + 0.25 * pull * (torch.cat([pad, step]) + torch.cat([step, pad]))

    parameters = torch.zeros_like(bowls.centre)
    state, losses = optimizer.start(parameters.clone()), []
    for _ in range(2 * STEPS):
        parameters = parameters.detach().requires_grad_(True)
        loss = total(parameters)
        losses.append(float(loss.detach().sum()))
        (gradient,) = torch.autograd.grad(loss.sum(), parameters)
        evaluation = replace(bowls.evaluate(parameters.detach()), loss=loss.detach(), gradient=gradient)
        parameters, state = optimizer.update(parameters.detach().clone(), evaluation, state)
    reached = (losses[0] - min(losses)) / (losses[0] - _lowest(total, bowls))
    assert reached > 0.95, (
        f"its plan says coupled_rows=True, but after {2 * STEPS} steps the sum of the losses of rows that are drawn to "
        f"each other fell by only {reached:.0%} of what is possible"
    )


def _lowest(total: Callable[[Tensor], Tensor], bowls: Bowls) -> float:
    """Minimise the sum of coupled losses over all rows at once."""
    parameters = torch.zeros_like(bowls.centre).requires_grad_(True)
    solver = torch.optim.LBFGS([parameters], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = total(parameters).sum()
        loss.backward()
        return loss

    solver.step(closure)
    return float(total(parameters.detach()).sum())


CHECKS = [
    Check("it lowers the loss", it_lowers_the_loss),
    Check("rows are independent", rows_are_independent),
    Check("rows join and leave a batch", rows_join_and_leave),
    Check("a row that is not finite leaves others alone", a_spoilt_row_leaves_others_alone),
    Check("a gradient that is not finite is survived", a_gradient_that_is_not_finite_is_survived),
    Check("types are kept", types_are_kept),
    Check("works for 0 rows and for 1", works_for_few_rows),
    Check("nothing is random", nothing_is_random),
    Check("arguments are left as they are", arguments_are_left_alone),
    Check("learning rates of rows count", learning_rates_of_rows_count),
    Check("convergence is told row by row", convergence_is_told_row_by_row),
    Check("curvature is asked for as planned", curvature_is_asked_for_as_planned),
    Check("coupled rows are minimised as planned", coupled_rows_are_minimised_as_planned),
]
