"""Checks objectives, in addition to the checks that they share with metrics."""

from __future__ import annotations

from dataclasses import replace

import torch

from lipflow_core.testing.states import FLOAT64, scene
from lipflow_core.testing.subject import Check, Subject, close
from lipflow_core.testing.term import value_of


def gradients_reach_what_it_needs(subject: Subject) -> None:
    asked, needs = scene(subject, 3), subject.planned.needs
    loss = value_of(subject, subject.build(dtype=FLOAT64), asked)
    assert loss.requires_grad, "its loss has no gradient"
    loss.sum().backward()
    for name, leaf in asked.leaves.items():
        if name in needs:
            what = "the code, through the prior" if name == "prior" else f"'{name}', which its plan needs"
            assert leaf.grad is not None and leaf.grad.abs().max() > 0, f"no gradient reaches {what}"
            assert torch.isfinite(leaf.grad).all(), f"the gradient is not finite at {what}"
        elif name != "prior":  # the code is always there
            assert leaf.grad is None, f"a gradient reaches '{name}', which its plan's needs do not name"


def weight_is_left_to_the_core(subject: Subject) -> None:
    asked, loss = scene(subject, 2), []
    for weight in (1.0, 3.0):
        part = replace(subject.part, config=subject.part.config.model_copy(update={"weight": weight}))
        loss.append(value_of(subject, replace(subject, part=part).build(dtype=FLOAT64), asked))
    close("the loss is already multiplied by its weight", loss[1], loss[0])


def residuals_have_the_loss_s_gradient(subject: Subject) -> None:
    asked, module = scene(subject, 3), subject.build(dtype=FLOAT64)
    seen = asked.seen(subject.planned.needs)
    residuals = module.residuals(seen.state, seen.target)
    if residuals is None:
        assert not subject.planned.residuals, "its plan says residuals=True, but it gives none"
        return
    assert (residuals.weights >= 0).all(), "a weight of its residuals is negative"
    squares = (residuals.weights.detach() * residuals.values.square()).sum()
    leaves = [leaf for name, leaf in asked.leaves.items() if name in subject.planned.needs]
    loss = module(seen.state, seen.target).sum()
    slopes = [torch.autograd.grad(term, leaves, materialize_grads=True, retain_graph=True) for term in (squares, loss)]
    for one, other in zip(*slopes, strict=True):
        close("the sum of its weighted squared residuals has another gradient than the loss", one, other)


CHECKS = [
    Check("gradients reach what its plan needs, and nothing else", gradients_reach_what_it_needs),
    Check("the weight is left to the core", weight_is_left_to_the_core),
    Check("residuals have the loss's gradient", residuals_have_the_loss_s_gradient),
]
