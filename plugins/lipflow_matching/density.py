"""The density to which a velocity field transports a Gaussian, by integration or as a lower bound."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from lipflow_kit.densities import Density, GaussianDensity
from torch import Tensor

from lipflow_matching.network import VelocityNetwork


@dataclass(frozen=True)
class Numerics:
    """Numerical settings of densities.

    Args:
        steps: Number of Runge-Kutta steps.
        probes: (steps + 1, K, D) probe vectors v for the end of each step, scaled so that Σ vᵀ J v estimates the
            trace of J. The D unit vectors give the exact trace.
        times: (N,) times in (0, 1) at which the surrogate evaluates the velocity, evenly spread.
        noise: (N, 1, D) noise vectors of the surrogate, each of length √D.
        surrogate: Whether fitting maximises the surrogate.
    """

    steps: int
    probes: Tensor
    times: Tensor
    noise: Tensor
    surrogate: bool


class MatchingDensity(Density):
    r"""The Gaussian N(μ, σ) transported along the velocity field v, at fixed features.

    In units of the base, x = (z − μ) / σ, the straight paths x_t = t x + (1 − t) ε from noise to codes have the
    velocity v = E[x − ε | x_t]. With c = t² + (1 − t)² and y = x_t / √c it is written as

        v(x_t, t) = (2t − 1)/c · x_t + (1 − t)/c · n(y, t),

    The first term is the velocity for standard normal x, so without n the density is exactly N(μ, σ). Along a path,
    dy/dt = (1 − t) c^(−3/2) n(y, t). The score of the density of x_t is (t n − x_t) / c.

    Args:
        base: N(μ, σ), B rows, or one row that broadcasts.
        network: The network n.
        context: Result of `network.context` for the features; None without features.
        numerics: Steps, probes, times and noise.
    """

    def __init__(self, base: GaussianDensity, network: VelocityNetwork, context: Tensor | None, numerics: Numerics):
        self.base = base
        self.network = network
        self.context = context
        self.numerics = numerics
        self.broadcasts = base.broadcasts

    def log_prob(self, code: Tensor) -> Tensor:
        """Compute log p(z) = log p_base − ∫ div v dt, exact up to the steps and, for large codes, the probes."""
        start, divergence = self.integrate(self._whitened(code), backwards=True)
        return self.base.log_prob(self._coloured(start)) - divergence

    def fitting_log_prob(self, code: Tensor) -> Tensor:
        """Compute the bound of `correction` at fixed times and noise, or `log_prob` if `numerics.surrogate` is off."""
        if not self.numerics.surrogate:
            return self.log_prob(code)
        return self.base.log_prob(code) - self.correction(code, self.numerics.times[:, None], self.numerics.noise)

    def correction(self, code: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        r"""Estimate an upper bound of log p_base − log p, (B,) nats.

        The bound of diffusion models (Song et al., "Maximum likelihood training of score-based diffusion models",
        2021; Kingma and Gao, "Understanding diffusion objectives as the ELBO", 2023) is, for straight paths, flow
        matching's regression, weighted by t / (1 − t):

            −log p(x) ≤ constant + ∫ t/(1 − t) E‖x − ε − v(x_t, t)‖² dt,

        with equality if v is the optimum of the regression. For n = 0 the right side is −log N(x; 0, I), so that only
        the difference to it has to be estimated,

            ∫ t/c² E[(1 − t) ‖n‖² − 2 n·((1 − t) x − t ε)] dt,

        which is 0 without any noise for n = 0. ε and −ε together cancel most of the noise near t = 1. The bound holds
        for the density of the diffusion with the score of v, which equals that of `log_prob` if v is the optimum.

        Args:
            code: (B, D).
            times: (N, B) or (N, 1) in [0, 1], N for each code.
            noise: (N, B, D) or (N, 1, D), standard normal.
        """
        x, t, s = self._whitened(code), times[..., None], 1 - times[..., None]
        c = t.square() + s.square()
        noise = torch.stack([noise, -noise])
        mapped = self.network((t * x + s * noise) / c.sqrt(), self.network.shifts(self.context, t))
        difference = (s * mapped.square() - 2 * mapped * (s * x - t * noise)).sum(dim=-1) * (t / c.square())[..., 0]
        return difference.mean(dim=(0, 1))

    def mode(self) -> Tensor:
        """Return the code to which the mean of the base is transported."""
        return self._coloured(self.integrate(torch.zeros_like(self.base.mean))[0])

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return self._coloured(self.integrate(self._whitened(self.base.sample(count, generator)))[0])

    def rows(self, index: Tensor) -> MatchingDensity:
        if self.broadcasts:
            return self
        context = None if self.context is None else self.context[:, index]
        return MatchingDensity(self.base.rows(index), self.network, context, self.numerics)

    def integrate(self, y: Tensor, *, backwards: bool = False) -> tuple[Tensor, Tensor]:
        """Follow the velocity from t = 0 to 1, or back, by the classical Runge-Kutta method.

        Args:
            y: (B, D), or (count, B, D) if not `backwards`, in units of the base.
            backwards: Whether to go from codes to the base; the divergence is computed only then.

        Returns:
            The end, of the shape of y, and ∫₀¹ div v dt (B,) by Simpson's rule on the steps, 0 if not `backwards`.
        """
        steps, length = self.numerics.steps, (-1 if backwards else 1) / self.numerics.steps
        probes = self.numerics.probes if backwards else [None] * (steps + 1)
        time, total = float(backwards), y.new_zeros(())
        first, at_first = self._velocity(y, time, probes[0])
        for probe in probes[1:]:
            second, _ = self._velocity(y + length / 2 * first, time + length / 2)
            third, at_middle = self._velocity(y + length / 2 * second, time + length / 2, probe)
            fourth, _ = self._velocity(y + length * third, time + length)
            y = y + length / 6 * (first + 2 * second + 2 * third + fourth)
            time += length
            last, at_last = self._velocity(y, time, probe)
            total = total + abs(length) / 6 * (at_first + 4 * at_middle + at_last)
            first, at_first = last, at_last
        return y, total

    def _velocity(self, y: Tensor, time: float, probes: Tensor | None = None) -> tuple[Tensor, Tensor | float]:
        """Compute dy/dt and its divergence, which is 0 without probes."""
        s, c = 1 - time, time**2 + (1 - time) ** 2
        scale = s / c**1.5
        shifts = self.network.shifts(self.context, y.new_tensor([[time]]))
        if probes is None:
            return scale * self.network(y, shifts), 0.0
        mapped, trace = self.network.with_trace(y, shifts, probes)
        return scale * mapped, scale * trace

    def _whitened(self, code: Tensor) -> Tensor:
        return (code - self.base.mean) / self.base.normal.stddev

    def _coloured(self, code: Tensor) -> Tensor:
        return self.base.mean + self.base.normal.stddev * code
