"""The flow prior with a Student-t base."""

from __future__ import annotations

import math

import torch
from lipflow_kit.densities import BaseDensity, SeenThroughFlow
from torch import Tensor

from lipflow_core.densities import bounded_log_std
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding, Residuals
from lipflow_student.config import StudentFlowConfig


class StudentDensity(BaseDensity):
    """A multivariate Student-t with diagonal scale, which has one heavy tail for the whole code.

    log p(z) = log Γ((ν + D)/2) − log Γ(ν/2) − D/2 log(νπ) − Σ log σ − (ν + D)/2 · log(1 + Σ ((z − μ)/σ)² / ν).

    Args:
        freedom: Degrees of freedom ν.
        location: μ, (B, D), or (1, D) if it broadcasts.
        log_scale: log σ, of the same shape.
        broadcasts: Whether the one row serves every code.
    """

    def __init__(self, freedom: int, location: Tensor, log_scale: Tensor, broadcasts: bool = False):
        self.freedom = freedom
        self.location = location
        self.log_scale = log_scale
        self.broadcasts = broadcasts

    def log_prob(self, code: Tensor) -> Tensor:
        freedom, size = self.freedom, self.location.shape[1]
        constant = math.lgamma((freedom + size) / 2) - math.lgamma(freedom / 2) - size / 2 * math.log(freedom * math.pi)
        distance = ((code - self.location) * (-self.log_scale).exp()).square().sum(dim=1)
        return constant - self.log_scale.sum(dim=1) - (freedom + size) / 2 * torch.log1p(distance / freedom)

    def residuals(self, code: Tensor) -> Residuals:
        values = self.to_base(code)
        distance = values.square().sum(dim=1, keepdim=True)
        return Residuals(values, (self.freedom + values.shape[1]) / (2 * (self.freedom + distance)))

    def to_base(self, code: Tensor) -> Tensor:
        return (code - self.location) * (-self.log_scale).exp()

    def from_base(self, point: Tensor) -> Tensor:
        return self.location + self.log_scale.exp() * point

    def mode(self) -> Tensor:
        return self.location

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        batch, size = self.location.shape
        options = {"dtype": self.location.dtype, "device": self.location.device, "generator": generator}
        noise = torch.randn(count, batch, size, **options)
        chi_square = torch.randn(count, batch, self.freedom, **options).square().sum(dim=2, keepdim=True)
        return self.location + self.log_scale.exp() * noise * (self.freedom / chi_square).sqrt()

    def entropy(self) -> Tensor:
        """Compute the entropy, Σ log σ plus a constant, by E log(1 + distance / ν) = ψ((ν + D)/2) − ψ(ν/2)."""
        freedom, size = self.freedom, self.location.shape[1]
        half, whole = torch.tensor([freedom / 2, (freedom + size) / 2], dtype=torch.float64)
        constant = torch.lgamma(half) - torch.lgamma(whole) + size / 2 * math.log(freedom * math.pi)
        constant = constant + whole * (torch.digamma(whole) - torch.digamma(half))
        return self.log_scale.sum(dim=1) + constant.item()

    def rows(self, index: Tensor) -> StudentDensity:
        return self if self.broadcasts else StudentDensity(self.freedom, self.location[index], self.log_scale[index])


class StudentFlowPrior(SeenThroughFlow):
    """Sees a Student-t through a flow: its gradient fades with the distance of a code, where that of a Gaussian grows.

    After Alexanderson and Henter, "Robust model training and generalisation with Studentising flows", 2020.
    """

    config: StudentFlowConfig
    given: PriorInputs

    def base(self, driving: Encoding | None) -> StudentDensity:
        if self.config.base == "standard-normal":
            return StudentDensity(self.config.freedom, self.zero, self.zero, broadcasts=True)
        return StudentDensity(self.config.freedom, driving.mean, bounded_log_std(driving.log_std))
