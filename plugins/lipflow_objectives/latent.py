"""Objectives `divergence` and `latent-likelihood`, through which a prior acts on codes."""

from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from lipflow_core.interfaces import Objective, State
from lipflow_core.records import Frame, Residuals


class DivergenceObjective(Objective):
    """The prior's divergence from Q's posterior, L_L of training (paper, supplement H.1), in nats per dimension.

    The prior chooses the divergence (`LatentPrior.divergence`): KL(Q‖P), or −log p(z^q).
    """

    def loss(self, state: State, target: Frame) -> Tensor:
        return state.divergence


class LatentLikelihoodObjective(Objective):
    """Negative log-likelihood −log p(z) / D under the conditioned prior, in nats per dimension (supplement H.2).

    A prior with a costly log p may use a cheaper term instead (`ConditionedPrior.fitting_log_prob`). The loss is per
    dimension, so that its weight does not depend on the code's size. It may be negative, since p is a density.
    """

    def loss(self, state: State, target: Frame) -> Tensor:
        return -state.prior.fitting_log_prob(state.code) / state.code.shape[1]

    def residuals(self, state: State, target: Frame) -> Residuals | None:
        found = state.prior.residuals(state.code)
        return None if found is None else replace(found, weights=found.weights / state.code.shape[1])
