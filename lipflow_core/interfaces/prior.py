"""The contract of latent priors."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from lipflow_core.interfaces.component import ComponentModule, check_shape
from lipflow_core.records import Encoding


class LatentPrior(ComponentModule, ABC):
    """A density over the code, given what the driving encoder saw, or given nothing.

    Implement `divergence_from` and `condition`. A prior whose plan has "driving" among its `needs` gets an Encoding in
    every call; one that has not gets None. `given.flow` is the spec's flow, to be built by the prior (or refused in
    plan).
    """

    def divergence(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        """The training term L_L that ties Q's posterior to this prior.

        Args:
            posterior: Q's Gaussian over the code, B samples.
            code: (B, D), one reparametrised sample of it.
            driving: P's encoding, B samples, or None.

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
        """What `divergence` does, without its checks."""

    @abstractmethod
    def condition(self, driving: Encoding | None) -> ConditionedPrior:
        """The prior with the driving signal fixed: all that fitting, sampling and scoring use.

        Args:
            driving: P's encoding, B samples; None where the prior has no use for one, giving a prior of one row that
                broadcasts.
        """

    def log_prob(self, code: Tensor, driving: Encoding | None) -> Tensor:
        """log p(z) in nats, (B,), of codes (B, D)."""
        check_shape(self, "code", code, "B D", D=self.given.code)
        self.check_driving(driving)
        return self.condition(driving).log_prob(code)

    @property
    def initialized(self) -> bool:
        """Whether parameters that are set from data have been set."""
        return True

    def initialize(self, code: Tensor, driving: Encoding | None) -> None:
        """Set such parameters from samples of Q accumulated over many batches; called once before training.

        Args:
            code: (N, D).
            driving: P's encoding of the same N frames, or None.
        """

    def check_driving(self, driving: Encoding | None) -> None:
        """Refuse None where the plan says that this prior needs a driving encoder.

        Raises:
            ValueError: Naming the prior.
        """
        if "driving" in self.planned.needs and driving is None:
            raise ValueError(f"{type(self).__name__}: this prior needs the driving encoder's encoding, got None")


class ConditionedPrior(ABC):
    """A prior with its driving signal fixed; B rows, or one row that broadcasts."""

    @abstractmethod
    def log_prob(self, code: Tensor) -> Tensor:
        """log p(z) in nats, (B,), of codes (B, D); differentiable in the code."""

    def fitting_log_prob(self, code: Tensor) -> Tensor:
        """What fitting ascends, (B,) nats: log p(z) itself, unless a prior has a cheaper stand-in for it.

        Like `log_prob` it is differentiable, without randomness, and a function of each row alone.
        """
        return self.log_prob(code)

    @abstractmethod
    def mode(self) -> Tensor:
        """The most likely code (B, D), or where that has no closed form, what the base's mode maps to."""

    @abstractmethod
    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        """`count` samples for each row, (count, B, D)."""

    @abstractmethod
    def rows(self, index: Tensor) -> ConditionedPrior:
        """The rows that `index` names, (N,) int64 (repeats allowed) or (B,) bool; a broadcasting row stays one."""
