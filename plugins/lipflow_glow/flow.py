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
from lipflow_glow.passes.contract import Passes
from lipflow_glow.passes.plain import PlainPasses
from lipflow_glow.steps import DeviceLULinear, ExplicitActNorm


class GlowFlow(Flow):
    """Steps of ActNorm → LU linear map → coupling (LiP-Flow supplement, Table 10).

    Its state dict is that of an nflows `CompositeTransform` of `ActNorm`, `LULinear` and the coupling per step. Before
    `initialize` every ActNorm is the identity, in all directions and modes.
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
        # In the parameters' precision under mixed precision too: a density in bfloat16 is no density.
        with torch.autocast(code.device.type, enabled=False):
            dtype = self._transforms[0].shift.dtype
            code, context = code.to(dtype), None if context is None else context.to(dtype)
            total = no_log_det(code)
            for layer in layers:
                code, log_det = layer(code, context)
                total = total + log_det
            return code, total

    def condition(self, context: Tensor | None) -> ConditionedFlow:
        """The flow with its context fixed: folded in evaluation mode, when no gradient is to reach the context.

        The folded form gives gradients to the code alone. Its weights are kept until a parameter changes or the flow's
        mode does; a change through `parameter.data` goes unseen, so make it in training mode.

        Args:
            context: (B, h), or (1, h) for codes of any number; None for an unconditional flow.
        """
        follows = context is not None and context.requires_grad and torch.is_grad_enabled()
        if self.training or follows or not all(isinstance(c, HalfCoupling) for c in self._transforms[2::3]):
            return super().condition(context)
        with torch.autocast(self._transforms[0].shift.device.type, enabled=False):
            passes = self._passes()
            context = None if context is None else context.detach().to(passes.dtype)
            # Bound at once and not when first needed: by then the parameters may have changed.
            constants = passes.bind(context)
        return FoldedConditionedFlow(self, context, passes, lambda: constants)

    def _passes(self) -> Passes:
        tensors = [*self.parameters(), *self.buffers()]
        # Inference tensors count no versions: nothing to tell a change by.
        state = None if any(t.is_inference() for t in tensors) else [(t.data_ptr(), t._version) for t in tensors]
        if self._folded is None or state is None or self._folded[0] != state:
            layers = list(self._transforms)
            triples = list(zip(layers[0::3], layers[1::3], layers[2::3], strict=True))
            # The detached tensors keep their storage alive, so that no other tensor can take its address.
            self._folded = state, [t.detach() for t in tensors], self._passes_through(FoldedWeights(triples))
        return self._folded[2]

    def _passes_through(self, weights: FoldedWeights) -> Passes:
        narrow = self.config.fitting_precision == "bfloat16" and weights.log_det.dtype == torch.float32
        if weights.log_det.is_cpu and weights.log_det.dtype in (torch.float32, torch.float64):
            # Imported here: numba takes half a second, and training never needs it.
            from lipflow_glow.passes.compiled import CompiledPasses

            return CompiledPasses(weights, narrow)
        return PlainPasses(weights, narrow)

    def train(self, mode: bool = True) -> GlowFlow:
        if mode != self.training:  # else every `eval()` before a fit would fold anew
            self._folded = None
        return super().train(mode)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_folded": None}

    @property
    def initialized(self) -> bool:
        return all(bool(layer.initialized) for layer in self._transforms if isinstance(layer, ExplicitActNorm))

    @torch.no_grad()
    def initialize(self, code: Tensor, context: Tensor | None) -> None:
        """Set every ActNorm, and the batch norms' running statistics, from accumulated codes, layer by layer.

        Args:
            code: (N, D), N ≥ 2 and better ≥ 256.
            context: (N, h) or None.
        """
        self.check_inputs(code, context)
        if code.shape[0] < 2:
            raise ValueError(f"{type(self).__name__}: initialize needs at least 2 codes, got {code.shape[0]}")
        for name, given in (("codes", code), ("contexts", context)):
            bad = 0 if given is None else int((~given.isfinite().all(dim=1)).sum())
            if bad:
                raise ValueError(
                    f"{type(self).__name__}: {bad} of {len(given)} {name} to initialize from are not finite"
                )
        with _measuring(self):
            for layer in self._transforms:
                if isinstance(layer, ExplicitActNorm):
                    layer.initialize(code)
                code, _ = layer(code, context)


@contextmanager
def _measuring(module: nn.Module) -> Iterator[None]:
    """Batch norms take their statistics whole from the next batch; dropout and all else is as in evaluation."""
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
