"""Options of the objectives. Imports no torch."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat

from lipflow_core.config import ObjectiveConfig, Ramp
from lipflow_core.plans import Mismatch, ObjectiveInputs, Plan


class PhotometricConfig(ObjectiveConfig):
    """Options of objective `photometric`."""

    target: str | None = None
    """Name of the observation whose pictures are compared. If null, training compares the capture's training views; an
    objective of fitting must name one."""
    error: Literal["l2", "l1", "charbonnier"] = "l2"
    """Error of a pixel: squared, absolute, or Charbonnier √(r² + 0.01) − 0.1, which is nearly squared for small and
    absolute for large residuals."""
    scale: PositiveFloat = 0.1
    """Unit of a pixel's residual, for intensities in [0, 1]. A smaller unit weighs pictures more against geometry."""
    uncovered: Literal["count", "ignore"] = "count"
    """Treatment of pixels in the target's mask that the rendered mesh does not cover: "count" compares them with the
    background, which pulls the silhouette to the target's; "ignore" leaves them out."""
    region: Annotated[tuple[str, ...], Field(min_length=1)] | None = None
    """Regions of the surface, such as [eyes, mouth], that are compared in fitting; all other pixels are hidden. The
    capture defines the regions on the mesh; pixels are chosen by where the tracked surface shows them. Null compares
    all pixels of the target's mask."""
    exposure: Literal["none", "affine"] = "none"
    """Correction of exposure: "affine" fits a gain and an offset to each picture in closed form before comparing, for
    targets whose light or camera response differs from the training views'; "none" compares pictures unchanged."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Plan an objective that needs renderings of the target's cameras, and the target."""
        target = self.target or given.view
        images = given.observations.get(target, {}).get("images")
        if images is None:
            views = [name for name, tensors in given.observations.items() if "images" in tensors]
            lack = (
                "of a fit must say which pictures it compares with"
                if target is None
                else f"compares with pictures of '{target}', which the capture does not have"
            )
            raise Mismatch(
                f"objective 'photometric' {lack}; set target to one of: "
                f"{', '.join(views) or '(the capture has no pictures)'}"
            )
        if len(images) != 4 or images[1] not in (1, 3):
            raise Mismatch(
                f"objective 'photometric' takes grey or RGB pictures (views, 1 or 3, H, W), the capture's "
                f"'{target}' has {images}"
            )
        return Plan(
            inputs={f"{target}.images": images},
            outputs={"loss": ()},
            needs=(
                f"render:{target}",
                f"target:{target}",
                *(f"region:{target}:{name}" for name in dict.fromkeys(self.region or ())),
            ),
            residuals=True,
        )


class GeometryConfig(ObjectiveConfig):
    """Options of objective `geometry`."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Plan an objective that needs decoded and tracked vertices."""
        surface = given.roles.surface
        return Plan(
            inputs={f"{surface}.vertices": given.observations[surface]["vertices"]},
            outputs={"loss": ()},
            needs=("vertices", f"target:{surface}"),
            residuals=True,
        )


class DivergenceConfig(ObjectiveConfig):
    """Options of objective `divergence`, whose weight is the paper's λ_L of training, per dimension of the code."""

    weight: NonNegativeFloat | Ramp | None = None
    """Factor on the divergence; a larger one draws Q's posterior closer to the prior. Null uses the weight that the
    stage's prior recommends. A ramp `{start, end, steps}` changes the weight over the first steps of a stage."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Plan an objective that needs the divergence of Q's posterior from the prior."""
        return Plan(inputs={"code": (given.code,)}, outputs={"loss": ()}, needs=("divergence",))


class LatentLikelihoodConfig(ObjectiveConfig):
    """Options of objective `latent-likelihood`, whose weight is the paper's λ_L of fitting."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Plan an objective that needs the prior."""
        return Plan(inputs={"code": (given.code,)}, outputs={"loss": ()}, needs=("prior",))
