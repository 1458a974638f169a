"""Couplings, which bend one half of the features by parameters that a network computes from the other half and h."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable

import torch
from torch import Tensor, nn

from lipflow_core.interfaces import Coupling
from lipflow_core.interfaces.flow import no_log_det
from lipflow_core.plans import CouplingInputs
from lipflow_glow.config import AffineConfig, ClampedAffineConfig, HalfCouplingConfig, SplineConfig
from lipflow_glow.splines import rational_quadratic_spline
from lipflow_glow.steps import conditioner

Bend = Callable[[Tensor, Tensor], tuple[Tensor, Tensor]]


class HalfCoupling(Coupling):
    """Base of these couplings: y' = x', y = bend(x; net(x', h)), where x' is every other feature.

    Implement `bend` and `unbend`, which act on each feature separately. Modules and buffers have the names that nflows
    gives them, so that state dicts can be exchanged.
    """

    parameters_per_feature = 1

    def __init__(self, config: HalfCouplingConfig, given: CouplingInputs):
        super().__init__(config, given)
        features = torch.arange(given.features)
        moved = features % 2 == (0 if given.flip else 1)
        self.register_buffer("identity_features", features[~moved])
        self.register_buffer("transform_features", features[moved])
        kept, moving = len(self.identity_features), len(self.transform_features)
        self.transform_net = conditioner(given, kept, moving * self.parameters_per_feature)

    @abstractmethod
    def bend(self, moved: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Transform one half of the features, elementwise.

        Args:
            moved: (B, T).
            parameters: (B, T · parameters_per_feature).

        Returns:
            The transformed half (B, T) and log|det| (B,).
        """

    @abstractmethod
    def unbend(self, moved: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        """Invert `bend`; shapes as there."""

    def transform(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._apply_half(self.bend, code, context)

    def invert(self, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        return self._apply_half(self.unbend, code, context)

    def _apply_half(self, function: Bend, code: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        # Slices avoid the gather and scatter of nflows' index buffers.
        first = int(self.given.flip)
        kept = code[:, first::2]
        moved, log_det = function(code[:, 1 - first :: 2], self.transform_net(kept, context))
        result = torch.empty_like(code)
        result[:, first::2] = kept
        result[:, 1 - first :: 2] = moved
        return result, log_det

    def _start_as_identity(self) -> None:
        nn.init.zeros_(self.transform_net.final_layer.weight)
        nn.init.zeros_(self.transform_net.final_layer.bias)


class AdditiveCoupling(HalfCoupling):
    """Shifts one half, y = x + t(x', h), and so preserves volume (Dinh et al., NICE, 2015)."""

    def bend(self, moved: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return moved + parameters, no_log_det(moved)

    def unbend(self, moved: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return moved - parameters, no_log_det(moved)


class ScalingCoupling(HalfCoupling):
    """Base of couplings y = x · exp(log_scale) + shift; implement `log_scale`.

    The parameters are first all shifts, then all unconstrained scales.
    """

    parameters_per_feature = 2

    @abstractmethod
    def log_scale(self, unconstrained: Tensor) -> Tensor:
        """Compute the logarithm of the scale from the outputs of the network, elementwise."""

    def bend(self, moved: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, unconstrained = parameters.chunk(2, dim=1)
        log_scale = self.log_scale(unconstrained)
        return torch.addcmul(shift, moved, log_scale.exp()), log_scale.sum(dim=1)

    def unbend(self, moved: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        shift, unconstrained = parameters.chunk(2, dim=1)
        log_scale = self.log_scale(unconstrained)
        return (moved - shift) * (-log_scale).exp(), -log_scale.sum(dim=1)


class AffineCoupling(ScalingCoupling):
    """Scales and shifts one half as nflows does: the scale is sigmoid(s + 2) + 1e-3, at most 1.001."""

    config: AffineConfig

    def log_scale(self, unconstrained: Tensor) -> Tensor:
        return torch.log(torch.sigmoid(unconstrained + 2) + 1e-3)


class ClampedAffineCoupling(ScalingCoupling):
    """Scales one half within soft bounds and shifts it; the identity before training.

    log_scale = (2/π) · bound · atan(s / bound), where bound is `grow` for s ≥ 0 and `shrink` for s < 0. This is an
    asymmetric soft clamp of slope 2/π at zero (after Andrade, "Stable training of normalizing flows for
    high-dimensional variational inference", 2024). It bounds the growth, so that many steps do not overflow.
    """

    config: ClampedAffineConfig

    def __init__(self, config: ClampedAffineConfig, given: CouplingInputs):
        super().__init__(config, given)
        self._start_as_identity()

    def log_scale(self, unconstrained: Tensor) -> Tensor:
        bound = torch.where(unconstrained >= 0, self.config.grow, self.config.shrink).to(unconstrained.dtype)
        return (2 / math.pi) * bound * torch.atan(unconstrained / bound)


class SplineCoupling(HalfCoupling):
    """Bends one half by monotone rational-quadratic splines with linear tails; the identity before training."""

    config: SplineConfig

    def __init__(self, config: SplineConfig, given: CouplingInputs):
        self.parameters_per_feature = 3 * config.bins - 1
        super().__init__(config, given)
        self._start_as_identity()
        # Gives a derivative of 1 at every knot, which with equal widths and heights is the identity.
        self.flat = math.log(math.exp(1 - config.min_derivative) - 1)

    def bend(self, moved: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._spline(moved, parameters, inverse=False)

    def unbend(self, moved: Tensor, parameters: Tensor) -> tuple[Tensor, Tensor]:
        return self._spline(moved, parameters, inverse=True)

    def _spline(self, moved: Tensor, parameters: Tensor, inverse: bool) -> tuple[Tensor, Tensor]:
        bins = self.config.bins
        widths, heights, derivatives = parameters.unflatten(1, (moved.shape[1], -1)).split([bins, bins, bins - 1], -1)
        # Keeps the softmaxes flat at first, whatever the width of the network.
        temperature = self.given.hidden**-0.5
        outputs, log_derivative = rational_quadratic_spline(
            moved,
            widths * temperature,
            heights * temperature,
            derivatives + self.flat,
            inverse=inverse,
            bound=self.config.bound,
            min_width=self.config.min_width,
            min_derivative=self.config.min_derivative,
        )
        return outputs, log_derivative.sum(dim=1)
