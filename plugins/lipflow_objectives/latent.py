"""Objectives `divergence` and `latent-likelihood`: the two ways in which a prior acts on codes."""

from __future__ import annotations

from torch import Tensor

from lipflow_core.interfaces import Objective, State
from lipflow_core.records import Frame


class DivergenceObjective(Objective):
    """The prior's divergence from Q's posterior, L_L of training (paper, supplement H.1), in nats per dimension.

    Which divergence it is, the prior says (`LatentPrior.divergence`): KL(Q‖P), or −log p(z^q).
    """

    def loss(self, state: State, target: Frame) -> Tensor:
        return state.divergence


class LatentLikelihoodObjective(Objective):
    """−log p(z) / D in nats per dimension, under the prior given the driving signal (paper, supplement H.2).

    A prior whose log p is costly may use a cheaper term in its place (`ConditionedPrior.fitting_log_prob`). The loss is
    per dimension, so that its weight does not depend on the code's size. It may be negative: p is a density.
    """

    def loss(self, state: State, target: Frame) -> Tensor:
        return -state.prior.fitting_log_prob(state.code) / state.code.shape[1]
