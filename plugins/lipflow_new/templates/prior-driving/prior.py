"""Prior `skeleton-name`: a Gaussian that a small network predicts from the driving encoder's features."""

from __future__ import annotations

from lipflow_kit.densities import GaussianDensity
from torch import Tensor, nn
from torch.distributions import kl_divergence

from lipflow_core.densities import bounded_log_std, bounded_normal
from lipflow_core.interfaces import LatentPrior
from lipflow_core.plans import PriorInputs
from lipflow_core.records import Encoding

from .config import SkeletonConfig


class Skeleton(LatentPrior):
    """p(z | h) = N(z; μ(h), diag σ(h)²) of driving features h; tied to the posterior by KL(Q‖p) in closed form.

    The network's last layer starts at zero, and the prior as N(0, I).

    Args:
        config: Its options.
        given: Size of the code; shapes of the driving encoding.
    """

    def __init__(self, config: SkeletonConfig, given: PriorInputs):
        super().__init__(config, given)
        (features,) = given.driving.outputs["features"]
        last = nn.Linear(config.hidden, 2 * given.code)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.network = nn.Sequential(nn.Linear(features, config.hidden), nn.SiLU(), last)

    def divergence_from(self, posterior: Encoding, code: Tensor, driving: Encoding | None) -> Tensor:
        return kl_divergence(bounded_normal(posterior), self.condition(driving).normal).mean(-1)

    def condition(self, driving: Encoding | None) -> GaussianDensity:
        self.check_driving(driving)
        mean, log_std = self.network(driving.features).chunk(2, dim=-1)
        return GaussianDensity(mean, bounded_log_std(log_std))
