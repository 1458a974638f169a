"""Options of the flow `glow` and of its couplings. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from lipflow_core.config import Config
from lipflow_core.parts import CouplingSlot
from lipflow_core.plans import CouplingInputs, FlowInputs, Mismatch, Plan


def _code_and_context(features: int, context: int) -> dict[str, tuple[int, ...]]:
    shapes = {"code": (features,)}
    return {**shapes, "context": (context,)} if context else shapes


class GlowConfig(Config):
    """Options of flow `glow`; the defaults are Table 10's (supplement)."""

    steps: PositiveInt = 4
    """Steps of ActNorm → LU linear map → coupling."""
    hidden: PositiveInt = 1024
    """Width of the couplings' conditioner networks."""
    blocks: PositiveInt = 2
    """Residual blocks of each conditioner."""
    batch_norm: bool = True
    """Whether the conditioners use batch norm within their layers."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the conditioners."""
    coupling: CouplingSlot = "additive"
    """What each step's coupling is; successive steps transform alternate features."""
    fitting_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the weights of the flow once its context is fixed. "bfloat16" halves the memory traffic of a fit at
    a relative error of about 1e-2; training, sampling and inversion are not affected. Takes effect for float32 flows on
    CPUs."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"steps": 2, "hidden": 32},
        "small": {"hidden": 256},
        "medium": {"hidden": 512},
    }

    def coupling_inputs(self, given: FlowInputs, step: int) -> CouplingInputs:
        """What the coupling of one step is built from."""
        return CouplingInputs(
            features=given.features,
            context=given.context,
            hidden=self.hidden,
            blocks=self.blocks,
            batch_norm=self.batch_norm,
            dropout=self.dropout,
            flip=step % 2 == 1,
        )

    def plan(self, given: FlowInputs) -> Plan:
        if given.features < 2:
            raise Mismatch(
                f"flow 'glow' transforms half of the code given the other, but the code's size is "
                f"{given.features}: it must be at least 2"
            )
        coupling = self.coupling.plan(self.coupling_inputs(given, 0))
        if not coupling.invertible:
            raise Mismatch(f"flow 'glow' must be invertible, but its coupling '{self.coupling.name}' is not")
        return Plan(
            inputs=_code_and_context(given.features, given.context),
            outputs={"code": (given.features,)},
            devices=coupling.devices,
            differentiable=coupling.differentiable,
            invertible=True,
            volume_preserving=coupling.volume_preserving,
            parts={"coupling": coupling},
        )


class HalfCouplingConfig(Config):
    """Base of the options of couplings that transform one half of the features given the other."""

    volume_preserving: ClassVar[bool] = False

    def plan(self, given: CouplingInputs) -> Plan:
        if given.features < 2:
            raise Mismatch(
                f"a coupling needs a code of at least 2 dimensions, but the flow's code has {given.features}"
            )
        return Plan(
            inputs=_code_and_context(given.features, given.context),
            outputs={"code": (given.features,)},
            invertible=True,
            volume_preserving=self.volume_preserving,
        )


class AdditiveConfig(HalfCouplingConfig):
    """Coupling `additive`: y = x + t(x', h). It has no options."""

    volume_preserving: ClassVar[bool] = True


class AffineConfig(HalfCouplingConfig):
    """Coupling `affine`: y = x · (sigmoid(s(x', h) + 2) + 1e-3) + t(x', h), nflows' form. It has no options."""


class ClampedAffineConfig(HalfCouplingConfig):
    """Coupling `affine-clamped`: y = x · exp(clamp(s)) + t with a soft clamp that bounds growth and shrinkage."""

    grow: PositiveFloat = 0.1
    """Upper bound of log-scale, softly approached."""
    shrink: PositiveFloat = 2.0
    """Lower bound of log-scale is −shrink, softly approached."""


class SplineConfig(HalfCouplingConfig):
    """Coupling `spline`: monotone rational-quadratic splines on [−bound, bound], the identity outside."""

    bins: Annotated[int, Field(ge=2)] = 8
    """Bins of each spline."""
    bound: PositiveFloat = 5.0
    """Half-width of the interval that the splines act on, in units of ActNorm's output."""
    min_width: PositiveFloat = 1e-3
    """Smallest width and height of a bin, as a share of the interval."""
    min_derivative: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Smallest derivative at a knot."""

    @model_validator(mode="after")
    def _widths_fit(self) -> SplineConfig:
        if self.min_width * self.bins >= 1:
            raise ValueError(f"min_width × bins must be below 1, got {self.min_width} × {self.bins}")
        return self
