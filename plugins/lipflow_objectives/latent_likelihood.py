"""Objective `latent-likelihood`: how unlikely is the code under the prior?"""

from __future__ import annotations

from torch import Tensor

from lipflow_core.interfaces import Objective, State
from lipflow_core.records import Frame


class LatentLikelihoodObjective(Objective):
    """−log p(z) / D in nats per dimension, under the prior given the driving signal (paper, supplement H.2).

    A prior whose log p is costly may stand in for it by something cheaper (`ConditionedPrior.fitting_log_prob`).
    Per dimension, so that its weight does not depend on the code's size. It may be negative: it is a density.
    """

    def loss(self, state: State, target: Frame) -> Tensor:
        return -state.prior.fitting_log_prob(state.code) / state.code.shape[1]
