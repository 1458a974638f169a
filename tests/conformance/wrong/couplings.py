"""Wrong couplings."""

from __future__ import annotations

import torch
from lipflow_glow.couplings import AdditiveCoupling, AffineCoupling, SplineCoupling
from torch import nn
from torch.nn import functional as F

from lipflow_core.interfaces.component import ComponentModule


class NoCoupling(ComponentModule):
    """Works as one, but is none."""

    def __init__(self, config, given):
        super().__init__(config, given)
        self.inner = AdditiveCoupling(config, given)

    def forward(self, code, context=None):
        return self.inner(code, context)

    def inverse(self, code, context=None):
        return self.inner.inverse(code, context)


class Old(torch.autograd.Function):
    """The identity, in the style that forward mode refuses."""

    @staticmethod
    def forward(ctx, tensor):
        return tensor.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient


class Backwards(AdditiveCoupling):
    def transform(self, code, context):
        result, log_det = super().transform(code, context)
        return Old.apply(result), log_det


class Unseeded(AdditiveCoupling):
    def __init__(self, config, given):
        super().__init__(config, given)
        generator = torch.Generator()
        generator.seed()
        with torch.no_grad():
            self.transform_net.final_layer.bias.normal_(generator=generator)


class Global(AdditiveCoupling):
    def transform(self, code, context):
        torch.rand(1)
        return super().transform(code, context)


class Unsaved(AdditiveCoupling):
    def __init__(self, config, given):
        super().__init__(config, given)
        self.register_buffer("offset", torch.randn(1), persistent=False)

    def bend(self, moved, parameters):
        return super().bend(moved, parameters + self.offset)

    def unbend(self, moved, parameters):
        return super().unbend(moved, parameters + self.offset)


class NeverEmpty(AdditiveCoupling):
    def transform(self, code, context):
        if len(code) == 0:
            raise ValueError("no codes")
        return super().transform(code, context)


class Leaking(AdditiveCoupling):
    """The shift depends on the mean over the batch."""

    def bend(self, moved, parameters):
        return super().bend(moved, parameters + parameters.mean(0))

    def unbend(self, moved, parameters):
        return super().unbend(moved, parameters + parameters.mean(0))


class Untrainable(AdditiveCoupling):
    def transform(self, code, context):
        there, log_det = super().transform(code, context)
        return (there * torch.nan if self.training else there), log_det


class Idle(AdditiveCoupling):
    def __init__(self, config, given):
        super().__init__(config, given)
        self.unused = nn.Parameter(torch.zeros(1))


class WrongSign(AffineCoupling):
    """The inverse gives log|det| of forward."""

    def invert(self, code, context):
        back, log_det = super().invert(code, context)
        return back, -log_det


class MeanLogDet(AffineCoupling):
    """log|det| is averaged over features, not summed."""

    def transform(self, code, context):
        there, log_det = super().transform(code, context)
        return there, log_det / len(self.transform_features)

    def invert(self, code, context):
        back, log_det = super().invert(code, context)
        return back, log_det / len(self.transform_features)


class Deaf(AdditiveCoupling):
    """Every context counts as ones."""

    def transform(self, code, context):
        return super().transform(code, None if context is None else torch.ones_like(context))

    def invert(self, code, context):
        return super().invert(code, None if context is None else torch.ones_like(context))


class Conditional(AdditiveCoupling):
    def transform(self, code, context):
        if context is None:
            raise ValueError("no context")
        return super().transform(code, context)


class Even(AdditiveCoupling):
    def __init__(self, config, given):
        if given.features % 2:
            raise ValueError("takes an even number of features")
        super().__init__(config, given)


class Cancelling(SplineCoupling):
    """The inverse takes the form of the root that cancels, and does not keep it within its bin."""

    def unbend(self, moved, parameters):
        bins, bound = self.config.bins, self.config.bound
        widths, heights, slopes = parameters.unflatten(1, (moved.shape[1], -1)).split([bins, bins, bins - 1], -1)
        temperature = self.given.hidden**-0.5
        x, y = (self._knots(logits * temperature) for logits in (widths, heights))
        slopes = F.pad(self.config.min_derivative + F.softplus(slopes + self.flat), (1, 1), value=1.0)
        inside = moved.abs() < bound
        safe = torch.where(inside, moved, 0)
        bin = torch.searchsorted(y[..., 1:-1].contiguous(), safe[..., None], right=True)

        def pick(knots, offset=0):
            return knots.gather(-1, bin + offset)[..., 0]

        width, height = pick(x, 1) - pick(x), pick(y, 1) - pick(y)
        start, end, slope, rise = pick(slopes), pick(slopes, 1), height / width, safe - pick(y)
        bulge = start + end - 2 * slope
        a, b, c = height * (slope - start) + rise * bulge, height * start - rise * bulge, -slope * rise
        root = 2 * c / (-b - (b.square() - 4 * a * c).clamp_min(0).sqrt())
        rest = slope + bulge * root * (1 - root)
        top = slope.square() * (end * root.square() + 2 * slope * root * (1 - root) + start * (1 - root).square())
        log_slope = torch.where(inside, 2 * rest.log() - top.log(), 0)
        return torch.where(inside, pick(x) + root * width, moved), log_slope.sum(1)

    def _knots(self, logits):
        shares = self.config.min_width + (1 - self.config.min_width * self.config.bins) * logits.softmax(-1)
        inner = 2 * self.config.bound * shares[..., :-1].cumsum(-1) - self.config.bound
        return F.pad(F.pad(inner, (1, 0), value=-self.config.bound), (0, 1), value=self.config.bound)
