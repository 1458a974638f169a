"""Defines the contract of latent priors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.records import Encoding, Residuals


class LatentPrior(ComponentModule, ABC):
    """A density over the code, conditioned on the driving encoder's encoding or unconditional.

    Implement `divergence_from` and `condition`. A prior whose plan has "driving" among its `needs` gets an Encoding in
    every call; other priors get None. `given.flow` is the spec's flow; the prior builds it, or refuses it in its plan.
    """

    def divergence(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        """Compute the training term L_L that ties Q's posterior to this prior.

        Args:
            posterior: Q's Gaussian over the code, B samples.
            code: (B, D), one reparametrised sample of the posterior.
            driving: P's encoding of the B samples, or None.

        Returns:
            (B,) nats per dimension: averaged over the D dimensions, so that its weight does not depend on the code's
            size.
        """
        check_shape(self, "code", code, "B D", D=self.given.code)
        self.check_driving(driving)
        result = self.divergence_from(posterior, code, driving)
        check_shape(self, "divergence", result, "B", B=code.shape[0])
        return result

    @abstractmethod
    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        """Compute the divergence; arguments and result as in `divergence`, shapes already checked."""

    @abstractmethod
    def condition(self, driving: Encoding | None) -> ConditionedPrior:
        """Fix the driving signal, for fitting, sampling and scoring.

        Args:
            driving: P's encoding of B samples. None for a prior that needs none; the result then has one row that
                broadcasts.
        """

    def log_prob(self, code: Tensor, driving: Encoding | None) -> Tensor:
        """Compute log p(z) of codes (B, D) in nats, (B,)."""
        check_shape(self, "code", code, "B D", D=self.given.code)
        self.check_driving(driving)
        return self.condition(driving).log_prob(code)

    @property
    def initialized(self) -> bool:
        """Whether the parameters that are set from data are set; True if there are none."""
        return True

    def initialize(self, code: Tensor, driving: Encoding | None) -> None:
        """Set parameters from samples of Q over many batches; called once before training.

        Args:
            code: (N, D).
            driving: P's encoding of the same N frames, or None.
        """

    def check_driving(self, driving: Encoding | None) -> None:
        """Raise an error for a driving encoding of None if the plan says that this prior needs one.

        Raises:
            ValueError: If `driving` is None although it is needed; the message names the prior.
        """
        if "driving" in self.planned.needs and driving is None:
            raise ValueError(f"{type(self).__name__}: this prior needs the driving encoder's encoding, got None")


class ConditionedPrior(ABC):
    """A prior with a fixed driving signal; it has B rows, or one row that broadcasts."""

    @abstractmethod
    def log_prob(self, code: Tensor) -> Tensor:
        """Compute log p(z) of codes (B, D) in nats, (B,); differentiable in the code."""

    def fitting_log_prob(self, code: Tensor) -> Tensor:
        """Compute what fitting maximises, (B,) nats: log p(z), unless the prior has a cheaper substitute.

        Like `log_prob` it is differentiable, deterministic, and depends on each row alone.
        """
        return self.log_prob(code)

    def residuals(self, code: Tensor) -> Residuals | None:
        """Compute residuals whose weighted squares add up to −log p(z), for codes (B, D); None if it is no such sum."""
        return None

    def to_base(self, code: Tensor) -> Tensor:
        """Map codes (B, D) to the density's base space, where it is near N(0, I); the mode maps to zero.

        Raises:
            NotImplementedError: If the density has no such space, as is the default.
        """
        raise NotImplementedError(f"{type(self).__name__} has no base space")

    def from_base(self, point: Tensor) -> Tensor:
        """Undo `to_base`; differentiable in the point (B, D). Raises as `to_base` does."""
        raise NotImplementedError(f"{type(self).__name__} has no base space")

    @abstractmethod
    def mode(self) -> Tensor:
        """Return the most likely code (B, D), or the image of the base's mode if there is no closed form."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw `count` codes for each row, (count, B, D)."""

    @abstractmethod
    def rows(self, index: Tensor) -> ConditionedPrior:
        """Select rows; index: (N,) int64 (repeats allowed) or (B,) bool. A prior that broadcasts stays unchanged."""
