"""Monotone rational-quadratic splines with linear tails (Durkan et al., Neural Spline Flows, 2019).

nflows has them too, but it selects by boolean masks, which costs a copy and a synchronisation per call, and its
inverse fails an assertion on rounding errors.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def rational_quadratic_spline(
    inputs: Tensor,
    widths: Tensor,
    heights: Tensor,
    derivatives: Tensor,
    *,
    inverse: bool,
    bound: float,
    min_width: float,
    min_derivative: float,
) -> tuple[Tensor, Tensor]:
    """Bend each input by its own spline, which maps [−bound, bound] to itself and is the identity outside.

    Args:
        inputs: (...).
        widths: (..., K) logits of the bins' widths.
        heights: (..., K) logits of the bins' heights.
        derivatives: (..., K − 1) derivatives at the inner knots, before softplus.
        inverse: Apply the inverse.
        bound: Half-width of the interval.
        min_width: Smallest width and height of a bin, as a fraction of the interval.
        min_derivative: Smallest derivative.

    Returns:
        Outputs (...), and the logarithm of the derivative (...) in the requested direction.
    """
    x = _knots(widths, bound, min_width)
    y = _knots(heights, bound, min_width)
    slopes = F.pad(min_derivative + F.softplus(derivatives), (1, 1), value=1.0)

    inside = inputs.abs() < bound
    # Inputs outside are replaced by a point inside, whose unused result has a finite gradient.
    safe = torch.where(inside, inputs, torch.zeros_like(inputs))
    bins = torch.searchsorted((y if inverse else x)[..., 1:-1].contiguous(), safe[..., None].detach(), right=True)

    def pick(knots: Tensor, offset: int = 0) -> Tensor:
        return knots.gather(-1, bins + offset)[..., 0]

    left, low = pick(x), pick(y)
    width, height = pick(x, 1) - left, pick(y, 1) - low
    start, end = pick(slopes), pick(slopes, 1)
    slope = height / width
    bulge = start + end - 2 * slope

    if inverse:
        rise = safe - low
        a = height * (slope - start) + rise * bulge
        b = height * start - rise * bulge
        c = -slope * rise
        # Never negative but for rounding; kept from zero, where the root has no gradient.
        discriminant = (b.square() - 4 * a * c).clamp_min(torch.finfo(b.dtype).tiny).sqrt()
        # Of the two forms of the quadratic's root the one whose terms do not cancel.
        turned = b < 0
        numerator = torch.where(turned, discriminant - b, 2 * c)
        root = (numerator / torch.where(turned, 2 * a, -b - discriminant)).clamp(0, 1)
        outputs = left + root * width
    else:
        root = ((safe - left) / width).clamp(0, 1)
        outputs = low + height * root * (slope * root + start * (1 - root)) / (slope + bulge * root * (1 - root))
    numerator = slope.square() * (end * root.square() + 2 * slope * root * (1 - root) + start * (1 - root).square())
    log_derivative = numerator.log() - 2 * (slope + bulge * root * (1 - root)).log()
    if inverse:
        log_derivative = -log_derivative
    return torch.where(inside, outputs, inputs), torch.where(inside, log_derivative, torch.zeros_like(inputs))


def _knots(logits: Tensor, bound: float, min_width: float) -> Tensor:
    """Turn the logits of K bins into K + 1 increasing knots from −bound to bound."""
    shares = min_width + (1 - min_width * logits.shape[-1]) * logits.softmax(dim=-1)
    inner = 2 * bound * shares[..., :-1].cumsum(dim=-1) - bound
    return F.pad(F.pad(inner, (1, 0), value=-bound), (0, 1), value=bound)
