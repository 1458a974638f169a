"""The density that a velocity field transports a Gaussian to: exact by integration, or bounded from below."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lipflow_core.densities import Density, GaussianDensity
from lipflow_matching.network import VelocityNetwork


@dataclass(frozen=True)
class Numerics:
    """How densities are computed.

    Args:
        steps: Runge-Kutta steps.
        probes: (steps + 1, K, D) probe vectors v for the end of each step, scaled so that Σ vᵀ J v estimates the
            trace of J; the D unit vectors for an exact trace.
        times: (N,) times in (0, 1) at which the surrogate looks, evenly spread.
        noise: (N, 1, D) noise that it looks with, each of length √D.
        surrogate: Whether fitting ascends the surrogate.
    """

    steps: int
    probes: Tensor
    times: Tensor
    noise: Tensor
    surrogate: bool


class MatchingDensity(Density):
    r"""N(μ, σ) transported along the velocity field v, at fixed features.

    In units of the base, x = (z − μ) / σ, the straight paths x_t = t x + (1 − t) ε from noise to codes have the
    velocity v = E[x − ε | x_t]. With c = t² + (1 − t)² and y = x_t / √c it is written as

        v(x_t, t) = (2t − 1)/c · x_t + (1 − t)/c · n(y, t),

    whose first term is the velocity if x is standard normal itself: without n, the density is N(μ, σ), exactly. Along
    a path y moves by dy/dt = (1 − t) c^(−3/2) n(y, t) alone. The score of x_t's density is (t n − x_t) / c.

    Args:
        base: N(μ, σ), B rows, or one that broadcasts.
        network: n.
        context: What its `context` made of the features; None without.
        numerics: Steps, probes, times and noise.
    """

    def __init__(self, base: GaussianDensity, network: VelocityNetwork, context: Tensor | None, numerics: Numerics):
        self.base = base
        self.network = network
        self.context = context
        self.numerics = numerics
        self.broadcasts = base.broadcasts

    def log_prob(self, code: Tensor) -> Tensor:
        """log p(z), exact up to the steps and, for large codes, the probes: log p_base less ∫ div v dt."""
        start, divergence = self.integrate(self._whitened(code), backwards=True)
        return self.base.log_prob(self._coloured(start)) - divergence

    def fitting_log_prob(self, code: Tensor) -> Tensor:
        """The bound of `correction` at fixed times and noise, or `log_prob`, as the numerics say."""
        if not self.numerics.surrogate:
            return self.log_prob(code)
        return self.base.log_prob(code) - self.correction(code, self.numerics.times[:, None], self.numerics.noise)

    def correction(self, code: Tensor, times: Tensor, noise: Tensor) -> Tensor:
        r"""An estimate of how far −log p lies above −log p_base at most, (B,) nats.

        The bound of diffusion models (Song et al., "Maximum likelihood training of score-based diffusion models",
        2021; Kingma and Gao, "Understanding diffusion objectives as the ELBO", 2023) is, for straight paths, flow
        matching's regression weighted by t / (1 − t):

            −log p(x) ≤ constant + ∫ t/(1 − t) E‖x − ε − v(x_t, t)‖² dt,

        with equality where v is what it learns. For n = 0 that is −log N(x; 0, I), so that only the difference has to
        be estimated,

            ∫ t/c² E[(1 − t) ‖n‖² − 2 n·((1 − t) x − t ε)] dt,

        and with n = 0 it is 0 without any noise. ε and −ε together cancel most of the noise near t = 1. What is
        bounded is the density of the diffusion that has v's score; it is `log_prob`'s where v is what it learns.

        Args:
            code: (B, D).
            times: (N, B) or (N, 1), in [0, 1], N for each code.
            noise: (N, B, D) or (N, 1, D), standard normal.
        """
        x, t, s = self._whitened(code), times[..., None], 1 - times[..., None]
        c = t.square() + s.square()
        noise = torch.stack([noise, -noise])
        mapped = self.network((t * x + s * noise) / c.sqrt(), self.network.shifts(self.context, t))
        difference = (s * mapped.square() - 2 * mapped * (s * x - t * noise)).sum(dim=-1) * (t / c.square())[..., 0]
        return difference.mean(dim=(0, 1))

    def mode(self) -> Tensor:
        """Where the base's mean is transported to."""
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
            y: (B, D), or forwards (count, B, D), in units of the base.
            backwards: From codes to the base; only then is the divergence computed.

        Returns:
            The end, of y's shape, and ∫₀¹ div v dt by Simpson's rule on the steps, (B,); 0 forwards.
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
        """dy/dt and its divergence, 0 without probes."""
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
