"""Options of flow `glow` and its couplings. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field, PositiveFloat, model_validator

from lipflow_core.config import Config, Depth, Size
from lipflow_core.parts import CouplingSlot
from lipflow_core.plans import CouplingInputs, FlowInputs, Mismatch, Plan


def _code_and_context(features: int, context: int) -> dict[str, tuple[int, ...]]:
    shapes = {"code": (features,)}
    return {**shapes, "context": (context,)} if context else shapes


class GlowConfig(Config):
    """Options of flow `glow`. The defaults are those of the paper (supplement, Table 10)."""

    steps: Depth = 4
    """Number of steps. Each is an ActNorm, an LU linear map and a coupling."""
    hidden: Size = 1024
    """Width of the conditioner networks, which compute the parameters of the couplings."""
    blocks: Depth = 2
    """Number of residual blocks of each conditioner."""
    batch_norm: bool = True
    """Whether the conditioners use batch norm."""
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    """Dropout probability of the conditioners."""
    coupling: CouplingSlot = "additive"
    """Coupling of every step. Successive steps transform alternate features."""
    fitting_precision: Literal["float32", "bfloat16"] = "float32"
    """Precision of the conditioners' weights while codes are fitted. "bfloat16" speeds up fits of large flows or large
    batches on CPUs with a matrix unit (Intel AMX); the mapped code then has a relative error of up to 1e-2. Where
    float32 is faster, as on CPUs without this unit and on GPUs, weights stay float32. Training, sampling and inversion
    always use the precision of the flow."""
    passes: Literal["auto", "plain", "compiled"] = "auto"
    """Implementation of the flow and its gradient while codes are fitted. "plain" uses torch only. "compiled" uses
    kernels for the CPU that skip the weights of inactive ReLU units. "auto" uses these kernels only where they are
    known to be faster: for up to 4 codes at once, conditioners at least 1024 wide, and at most two threads."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"steps": 2, "hidden": 32},
        "small": {"hidden": 256},
        "medium": {"hidden": 512},
    }

    def coupling_inputs(self, given: FlowInputs, step: int) -> CouplingInputs:
        """Return what the coupling of one step is built from."""
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
                f"flow 'glow' transforms one half of the code given the other, but the code's size is "
                f"{given.features}; set code to at least 2"
            )
        coupling = self.coupling.plan(self.coupling_inputs(given, 0))
        if not coupling.invertible:
            raise Mismatch(
                f"flow 'glow' needs an invertible coupling, but coupling '{self.coupling.name}' has no inverse; "
                "choose another, as in flow.coupling=additive"
            )
        return Plan(
            inputs=_code_and_context(given.features, given.context),
            outputs={"code": (given.features,)},
            devices=tuple(device for device in coupling.devices if device == "cpu" or self.passes != "compiled"),
            invertible=True,
            volume_preserving=coupling.volume_preserving,
            parts={"coupling": coupling},
        )


class HalfCouplingConfig(Config):
    """Base of the options of all couplings that transform one half of the features given the other."""

    volume_preserving: ClassVar[bool] = False

    def plan(self, given: CouplingInputs) -> Plan:
        if given.features < 2:
            raise Mismatch(
                f"a coupling transforms one half of the code given the other, but the code's size is {given.features}; "
                "set code to at least 2"
            )
        return Plan(
            inputs=_code_and_context(given.features, given.context),
            outputs={"code": (given.features,)},
            invertible=True,
            volume_preserving=self.volume_preserving,
        )


class AdditiveConfig(HalfCouplingConfig):
    """Options of coupling `additive`, y = x + t(x', h): none."""

    volume_preserving: ClassVar[bool] = True


class AffineConfig(HalfCouplingConfig):
    """Options of coupling `affine`, y = x · (sigmoid(s(x', h) + 2) + 1e-3) + t(x', h), the form of nflows: none."""


class ClampedAffineConfig(HalfCouplingConfig):
    """Options of coupling `affine-clamped`, y = x · exp(clamp(s)) + t, whose soft clamp bounds the scale."""

    grow: PositiveFloat = 0.1
    """Upper bound of the logarithm of the scale, which approaches it softly."""
    shrink: PositiveFloat = 2.0
    """The logarithm of the scale stays above −shrink, which it approaches softly."""


class SplineConfig(HalfCouplingConfig):
    """Options of coupling `spline`: monotone rational-quadratic splines on [−bound, bound], the identity outside."""

    bins: Annotated[int, Field(ge=2)] = 8
    """Number of bins of each spline."""
    bound: PositiveFloat = 5.0
    """Half-width of the interval [−bound, bound] that the splines bend. Features have about unit variance there."""
    min_width: PositiveFloat = 1e-3
    """Smallest width and height of a bin, as a fraction of the interval."""
    min_derivative: Annotated[float, Field(gt=0, lt=1)] = 1e-3
    """Smallest derivative of the spline at a knot."""

    @model_validator(mode="after")
    def _widths_fit(self) -> SplineConfig:
        if self.min_width * self.bins >= 1:
            raise ValueError(
                f"min_width × bins is {self.min_width} × {self.bins}, but all bins together must take less than the "
                "whole interval; lower one of them so that the product is below 1"
            )
        return self
