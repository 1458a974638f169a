"""Flow `glow` and its couplings: steps of ActNorm, an LU-decomposed linear map and a coupling, conditioned on features.

This is the flow of the LiP-Flow paper (supplement, Table 10). It trains through nflows' layers with their defects
mended. At a fixed context, as in a fit, it is evaluated in an exact folded form with a hand-written gradient.
"""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="flow",
        name="glow",
        implementation="lipflow_glow.flow:GlowFlow",
        config="lipflow_glow.config:GlowConfig",
        summary="Steps of ActNorm, LU linear map and coupling; the paper's flow",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="coupling",
        name="additive",
        implementation="lipflow_glow.couplings:AdditiveCoupling",
        config="lipflow_glow.config:AdditiveConfig",
        summary="Shifts one half, so it preserves volume; the paper's coupling",
        capabilities=frozenset({"cpu", "cuda", "volume-preserving"}),
    )
    yield Component(
        kind="coupling",
        name="affine",
        implementation="lipflow_glow.couplings:AffineCoupling",
        config="lipflow_glow.config:AffineConfig",
        summary="Scales one half by nflows' sigmoid and shifts it",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="coupling",
        name="affine-clamped",
        implementation="lipflow_glow.couplings:ClampedAffineCoupling",
        config="lipflow_glow.config:ClampedAffineConfig",
        summary="Scales one half within soft bounds and shifts it; starts as the identity",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="coupling",
        name="spline",
        implementation="lipflow_glow.couplings:SplineCoupling",
        config="lipflow_glow.config:SplineConfig",
        summary="Bends one half by monotone rational-quadratic splines; starts as the identity",
        capabilities=frozenset({"cpu", "cuda"}),
    )
