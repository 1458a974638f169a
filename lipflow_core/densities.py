"""Bounds the log σ of predicted Gaussians, so that no likelihood or KL overflows in float32."""

from __future__ import annotations

from torch import Tensor
from torch.distributions import Normal

from lipflow_core.records import Encoding

FREE_LOG_STD = 8.0
"""Predicted log standard deviations within ±8 are used unchanged."""
LARGEST_LOG_STD = 10.0
"""Predicted log standard deviations beyond ±8 are squashed into ±10."""


def bounded_log_std(log_std: Tensor) -> Tensor:
    """Squash log σ into ±LARGEST_LOG_STD. The map is the identity within ±FREE_LOG_STD and once differentiable.

    The slope falls with the square of the excess, not exponentially, so that a head that diverged can recover.
    """
    room = LARGEST_LOG_STD - FREE_LOG_STD
    free = log_std.clamp(-FREE_LOG_STD, FREE_LOG_STD)
    excess = (log_std - free) / room
    return free + room * excess / (1 + excess.abs())


def bounded_normal(encoding: Encoding) -> Normal:
    """Make an encoding's Gaussian with bounded log σ, as D independent normals: batch shape (B, D)."""
    return Normal(encoding.mean, bounded_log_std(encoding.log_std).exp(), validate_args=False)
