"""The flow `glow`: z^p = F(z^q; h) by steps of ActNorm → LU linear map → coupling."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from lipflow_core.interfaces import ConditionedFlow, Flow
from lipflow_core.interfaces.flow import no_log_det
from lipflow_core.plans import FlowInputs
from lipflow_glow.conditioned import FoldedConditionedFlow
from lipflow_glow.config import GlowConfig
from lipflow_glow.couplings import HalfCoupling
from lipflow_glow.folding import FoldedWeights
from lipflow_glow.passes.walk import Passes
from lipflow_glow.steps import DeviceLULinear, ExplicitActNorm


class GlowFlow(Flow):
    """Maps codes by steps of ActNorm, LU linear map and coupling (LiP-Flow supplement, Table 10).

    The state dict is that of an nflows `CompositeTransform` with `ActNorm`, `LULinear` and a coupling for each step.
    Before `initialize` every ActNorm is the identity.
    """

    config: GlowConfig
    given: FlowInputs

    def __init__(self, config: GlowConfig, given: FlowInputs):
        super().__init__(config, given)
        layers: list[nn.Module] = []
        for step in range(config.steps):
            layers.append(ExplicitActNorm(given.features))
            layers.append(DeviceLULinear(given.features))
            layers.append(config.coupling.build(config.coupling_inputs(given, step)))
        self._transforms = nn.ModuleList(layers)
        self._folded: tuple[list[tuple[int, int]] | None, list[Tensor], Passes] | None = None

    def transform(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._chain(list(self._transforms), code, context)

    def invert(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._chain([layer.inverse for layer in reversed(self._transforms)], code, context)

    def _chain(self, layers: list[Callable], code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # Mixed precision is ignored, since log|det| in bfloat16 would be too coarse for a density.
        with torch.autocast(code.device.type, enabled=False):
            dtype = self._transforms[0].shift.dtype
            code, context = code.to(dtype), None if context is None else context.to(dtype)
            total = no_log_det(code)
            for layer in layers:
                code, log_det = layer(code, context)
                total = total + log_det
            return code, total

    def condition(self, context: Tensor | None) -> ConditionedFlow:
        """Fix the context; in evaluation mode, and unless the context needs gradients, the flow is folded.

        The folded form gives gradients to the code only. Folded weights are kept until a parameter or the mode of the
        flow changes. A change through `parameter.data` is not noticed: make such changes in training mode.

        Args:
            context: (B, h), or (1, h) for codes of any number; None for an unconditional flow.

        Raises:
            ValueError: If option `passes` is "compiled" and this flow's device or type has no compiled kernels.
        """
        follows = context is not None and context.requires_grad and torch.is_grad_enabled()
        if self.training or follows or not all(isinstance(c, HalfCoupling) for c in self._transforms[2::3]):
            return super().condition(context)
        with torch.autocast(self._transforms[0].shift.device.type, enabled=False):
            passes = self._passes()
            context = None if context is None else context.detach().to(passes.dtype)
            # Bound now, since the parameters may have changed by the time of first use.
            constants = passes.bind(context)
        return FoldedConditionedFlow(self, context, passes, lambda: constants)

    def _passes(self) -> Passes:
        tensors = [*self.parameters(), *self.buffers()]
        # Inference tensors have no version counter, so changes cannot be noticed.
        state = None if any(t.is_inference() for t in tensors) else [(t.data_ptr(), t._version) for t in tensors]
        if self._folded is None or state is None or self._folded[0] != state:
            layers = list(self._transforms)
            triples = list(zip(layers[0::3], layers[1::3], layers[2::3], strict=True))
            # The detached tensors keep the storage alive, so that no new tensor gets the same address.
            self._folded = state, [t.detach() for t in tensors], Passes(FoldedWeights(triples), self.config)
        return self._folded[2]

    def train(self, mode: bool = True) -> GlowFlow:
        if mode != self.training:  # `eval()` before every fit must not fold again
            self._folded = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_folded": None}

    @property
    def initialized(self) -> bool:
        return all(bool(layer.initialized) for layer in self._transforms if isinstance(layer, ExplicitActNorm))

    @torch.no_grad()
    def initialize(self, code: Tensor, context: Tensor | None) -> None:
        """Set each ActNorm and the running statistics of batch norms from accumulated codes, layer by layer.

        Args:
            code: (N, D), N ≥ 2; 256 or more are recommended.
            context: (N, h) or None.

        Raises:
            ValueError: If there are fewer than 2 codes, or codes or contexts that are not finite.
        """
        self.check_inputs(code, context)
        if code.shape[0] < 2:
            raise ValueError(
                f"{type(self).__name__}: initialize got {code.shape[0]} codes, but needs at least 2 and "
                "better 256 or more"
            )
        for name, given in (("codes", code), ("contexts", context)):
            bad = 0 if given is None else int((~given.isfinite().all(dim=1)).sum())
            if bad:
                raise ValueError(
                    f"{type(self).__name__}: initialize got {bad} of {len(given)} {name} that are NaN or infinite; "
                    "check the encoders and the capture"
                )
        with _measuring(self):
            for layer in self._transforms:
                if isinstance(layer, ExplicitActNorm):
                    layer.initialize(code)
                code, _ = layer(code, context)


@contextmanager
def _measuring(module: nn.Module) -> Iterator[None]:
    """Make batch norms replace their statistics by those of the next batch; everything else is in evaluation mode."""
    modes = {part: part.training for part in module.modules()}
    momenta = {part: part.momentum for part in module.modules() if isinstance(part, nn.BatchNorm1d)}
    module.eval()
    for norm in momenta:
        norm.train()
        norm.momentum = 1.0
    try:
        yield
    finally:
        for norm, momentum in momenta.items():
            norm.momentum = momentum
        for part, mode in modes.items():
            part.training = mode
