"""Gauss–Newton matrices of rows, for optimizers that ask for them."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.errors import SpecError
from lipflow_core.fitting.pose import rigid
from lipflow_core.fitting.problem import Problem
from lipflow_core.specs.model import Fitting

_CODE_STEP, _POSE_STEP = 3e-3, 3e-2
"""Differences of a parameter of code and pose. A pose must move edges by about a pixel: of a smaller move most edges
show nothing and the rest jump, and the square of a jump counts too much."""
_AT_ONCE = 1024
"""Largest number of codes decoded together without pictures; with pictures it is `fitting.batch`."""


@torch.no_grad()
def gauss_newton(problem: Problem, parameters: Tensor, weights: Tensor, fitting: Fitting) -> Tensor:
    """Compute Σ_k 2 w_k J_kᵀ diag(v_k) J_k, with J_k the Jacobian of the residuals r_k and v_k their weights.

    J is taken by forward differences: P more evaluations of each row without a gradient. Forward mode of automatic
    differentiation takes as many and more for each, and renderers have no forward mode. Objectives without residuals
    contribute nothing.

    Args:
        problem: Losses of N frames.
        parameters: (N, P) code and pose of each row.
        weights: (N, K) weights of each row's objectives.
        fitting: Options of fitting.

    Returns:
        (N, P, P).

    Raises:
        lipflow_core.errors.SpecError: If no objective has residuals.
    """
    count, size = parameters.shape
    steps = parameters.new_full((size,), _CODE_STEP)
    steps[problem.code_size :] = _POSE_STEP
    at_once = max(1, (fitting.batch if problem.needs.rendered else _AT_ONCE) // (size + 1))
    found = [
        _of_rows(problem.rows(rows), parameters[rows], weights[rows], fitting, steps)
        for rows in torch.arange(count, device=parameters.device).split(at_once)
    ]
    return torch.cat(found) if found else parameters.new_zeros(0, size, size)


def _of_rows(problem: Problem, parameters: Tensor, weights: Tensor, fitting: Fitting, steps: Tensor) -> Tensor:
    count, size = parameters.shape
    # Row by row, the row itself and then the row with each of its parameters changed.
    changes = torch.cat([torch.zeros_like(steps)[None], steps.diag()])
    tried = (parameters[:, None] + changes).flatten(0, 1)
    sources = torch.arange(count, device=parameters.device).repeat_interleave(size + 1)
    at_once = fitting.batch if problem.needs.rendered else len(tried)
    parts = [
        problem.rows(source).residuals(*split(some, problem.code_size, fitting))
        for some, source in zip(tried.split(at_once), sources.split(at_once), strict=True)
    ]
    if all(residuals is None for residuals in parts[0]):
        raise SpecError(
            f"fitting.optimizer uses curvature, but no objective is a sum of squares: {', '.join(problem.objectives)}",
            hint="choose an optimizer that uses gradients alone, or an objective that gives residuals",
        )
    matrix = parameters.new_zeros(count, size, size)
    for index, residuals in enumerate(zip(*parts, strict=True)):
        if residuals[0] is None:
            continue
        values = torch.cat([part.values for part in residuals]).unflatten(0, (count, size + 1))
        shares = _of_first_rows([part.weights.expand_as(part.values) for part in residuals], size + 1)
        jacobian = (values[:, 1:] - values[:, :1]) / steps[:, None]
        matrix += 2 * weights[:, index, None, None] * ((jacobian * shares[:, None]) @ jacobian.mT)
    return matrix


def _of_first_rows(parts: list[Tensor], every: int) -> Tensor:
    """Take each `every`-th row of parts that follow one another, without joining them."""
    chosen, passed = [], 0
    for part in parts:
        chosen.append(part[-passed % every :: every])
        passed += len(part)
    return torch.cat(chosen)


def split(parameters: Tensor, code_size: int, fitting: Fitting) -> tuple[Tensor, Tensor | None]:
    """Split parameters (B, P) into codes (B, D) and [R|t] poses (B, 3, 4), None if they are not fitted."""
    if fitting.pose is None:
        return parameters[:, :code_size], None
    return parameters[:, :code_size], rigid(parameters[:, code_size:], fitting.pose.translation_scale)
