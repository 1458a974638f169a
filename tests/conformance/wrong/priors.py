"""Wrong priors."""

from __future__ import annotations

from dataclasses import replace

import torch
from lipflow_kit.densities import GaussianDensity
from lipflow_priors.gaussian import DrivingGaussianPrior, StandardNormalPrior


class Unlike(StandardNormalPrior):
    def log_prob(self, code, driving):
        return super().log_prob(code, driving) + 1


class _Conditioned(StandardNormalPrior):
    """N(0, I) whose fixed form is of the class `density`."""

    density: type[GaussianDensity]

    def condition(self, driving):
        return self.density(self.zero, self.zero, broadcasts=True)


class HalfGradient(_Conditioned):
    class density(GaussianDensity):
        def fitting_log_prob(self, code):
            return (self.log_prob(code) + self.log_prob(code.detach())) / 2


class AllRows(DrivingGaussianPrior):
    class density(GaussianDensity):
        def rows(self, index):
            return self

    def condition(self, driving):
        self.check_driving(driving)
        return self.density(driving.mean, driving.log_std)


class NeverNone(_Conditioned):
    class density(GaussianDensity):
        def sample(self, count, generator=None):
            if count == 0:
                raise ValueError("no samples")
            return super().sample(count, generator)


class Global(_Conditioned):
    class density(GaussianDensity):
        def sample(self, count, generator=None):
            torch.rand(1)
            return super().sample(count, generator)


class Wide(_Conditioned):
    class density(GaussianDensity):
        def sample(self, count, generator=None):
            return 1.1 * super().sample(count, generator)


class Shifted(_Conditioned):
    class density(GaussianDensity):
        def from_base(self, point):
            return super().from_base(point) + 0.1


class TooMuch(_Conditioned):
    class density(GaussianDensity):
        def log_prob(self, code):
            return super().log_prob(code) + 0.2


class NoSpread(StandardNormalPrior):
    def divergence_from(self, posterior, code, driving):
        return super().divergence_from(replace(posterior, log_std=posterior.log_std.detach()), code, driving)


class Forgetful(StandardNormalPrior):
    initialized = False


class Undriven(DrivingGaussianPrior):
    def check_driving(self, driving):
        pass

    def condition(self, driving):
        if driving is None:
            zero = torch.zeros(1, self.given.code)
            return GaussianDensity(zero, zero, broadcasts=True)
        return super().condition(driving)


class Lookalike(StandardNormalPrior):
    class density:
        """Does what a GaussianDensity does."""

        def __init__(self, inner):
            self.inner = inner

        def __getattr__(self, name):
            return getattr(self.inner, name)

    def condition(self, driving):
        return self.density(super().condition(driving))
