"""Options of the objectives. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, PositiveFloat

from lipflow_core.config import ObjectiveConfig, Ramp
from lipflow_core.plans import Mismatch, ObjectiveInputs, Plan


class PhotometricConfig(ObjectiveConfig):
    """Options of objective `photometric`."""

    target: str | None = None
    """Observation whose pictures are compared; the capture's training views if null."""
    error: Literal["l2", "l1", "charbonnier"] = "l2"
    """Error of a pixel: squared, absolute, or Charbonnier √(r² + 0.01) − 0.1, which is nearly squared for small and
    absolute for large residuals."""
    scale: PositiveFloat = 0.1
    """Unit of a pixel's residual, an intensity in [0, 1]. The smaller it is, the less geometry is learned."""
    uncovered: Literal["count", "ignore"] = "count"
    """What to do with pixels within the target's mask that the rendered mesh misses: "count" compares the background
    there, which pulls silhouettes to the target's; "ignore" leaves the pixels out."""
    exposure: Literal["none", "affine"] = "none"
    """"affine" first fits a gain and an offset to each picture in closed form, for targets whose light or camera
    response differs from the training views'."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Needs pictures of the target's cameras and the target."""
        target = self.target or given.roles.training_views
        images = given.observations.get(target, {}).get("images")
        if images is None:
            views = [name for name, tensors in given.observations.items() if "images" in tensors]
            raise Mismatch(
                f"objective 'photometric' compares with pictures of '{target}', which the capture does not have; "
                f"set target to one of: {', '.join(views) or '(the capture has no pictures)'}"
            )
        if len(images) != 4 or images[1] not in (1, 3):
            raise Mismatch(
                f"objective 'photometric' takes grey or RGB pictures (views, 1 or 3, H, W), the capture's "
                f"'{target}' has {images}"
            )
        return Plan(
            inputs={f"{target}.images": images},
            outputs={"loss": ()},
            needs=(f"render:{target}", f"target:{target}"),
        )


class GeometryConfig(ObjectiveConfig):
    """Options of objective `geometry`."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Needs decoded vertices and the tracked ones."""
        surface = given.roles.surface
        return Plan(
            inputs={f"{surface}.vertices": given.observations[surface]["vertices"]},
            outputs={"loss": ()},
            needs=("vertices", f"target:{surface}"),
        )


class DivergenceConfig(ObjectiveConfig):
    """Options of objective `divergence`: its weight is the paper's λ_L of training, per dimension of the code."""

    weight: NonNegativeFloat | Ramp = 0.01
    """Factor on the divergence; a ramp `{start, end, steps}` changes it over the first steps of a stage."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Needs the divergence of Q's posterior from the prior."""
        return Plan(inputs={"code": (given.code,)}, outputs={"loss": ()}, needs=("divergence",))


class LatentLikelihoodConfig(ObjectiveConfig):
    """Options of objective `latent-likelihood`: its weight is the paper's λ_L of fitting."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Needs the prior."""
        return Plan(inputs={"code": (given.code,)}, outputs={"loss": ()}, needs=("prior",))
