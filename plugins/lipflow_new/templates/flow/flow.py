"""Flow `skeleton-name`: couplings, one after another."""

from __future__ import annotations

from torch import Tensor, nn

from lipflow_core.interfaces import Flow
from lipflow_core.interfaces.flow import no_log_det
from lipflow_core.plans import FlowInputs

from .config import SkeletonConfig


class Skeleton(Flow):
    """F = f_n ∘ … ∘ f_1 with couplings f_i, so that log|det ∂F| = Σ log|det ∂f_i|.

    Args:
        config: Its options.
        given: Widths of code and context.
    """

    def __init__(self, config: SkeletonConfig, given: FlowInputs):
        super().__init__(config, given)
        self.couplings = nn.ModuleList(
            config.coupling.build(config.coupling_inputs(given, step)) for step in range(config.steps)
        )

    def transform(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_abs_det = no_log_det(code)
        for coupling in self.couplings:
            code, change = coupling(code, context)
            log_abs_det = log_abs_det + change
        return code, log_abs_det

    def invert(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        log_abs_det = no_log_det(code)
        for coupling in reversed(self.couplings):
            code, change = coupling.inverse(code, context)
            log_abs_det = log_abs_det + change
        return code, log_abs_det
