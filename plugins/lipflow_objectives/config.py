"""Options of the objectives. Imports no torch."""

from __future__ import annotations

from typing import Literal

from pydantic import PositiveFloat

from lipflow_core.config import ObjectiveConfig
from lipflow_core.plans import Mismatch, ObjectiveInputs, Plan


class PhotometricConfig(ObjectiveConfig):
    """Options of objective `photometric`."""

    target: str = "headset"
    """The observation whose pictures are compared with, such as "headset" or "frontal"."""
    error: Literal["l2", "l1", "charbonnier"] = "l2"
    """Of a pixel: squared, absolute, or Charbonnier √(r² + 0.01) − 0.1, which is nearly squared for small and absolute
    for large residuals."""
    scale: PositiveFloat = 0.1
    """Residuals are divided by this, an intensity in [0, 1]; as `training.image_scale`."""
    uncovered: Literal["count", "ignore"] = "count"
    """Pixels within the target's mask that the render's mesh misses: "count" compares the background there, so that
    silhouettes are pulled to where the target has a face; "ignore" leaves them out."""
    exposure: Literal["none", "affine"] = "none"
    """"affine" first fits a gain and an offset to each picture in closed form, for targets whose light or camera
    response differs from the capture's."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Needs pictures of the target's cameras and the target."""
        images = given.observations.get(self.target, {}).get("images")
        if images is None:
            views = [name for name, tensors in given.observations.items() if "images" in tensors]
            raise Mismatch(
                f"objective 'photometric' compares with pictures of '{self.target}', which the capture does not have; "
                f"set target to one of: {', '.join(views) or '(the capture has no pictures)'}"
            )
        if len(images) != 4 or images[1] not in (1, 3):
            raise Mismatch(
                f"objective 'photometric' takes grey or RGB pictures (views, 1 or 3, H, W), the capture's "
                f"'{self.target}' has {images}"
            )
        return Plan(
            inputs={f"{self.target}.images": images},
            outputs={"loss": ()},
            needs=(f"render:{self.target}", f"target:{self.target}"),
        )


class LatentLikelihoodConfig(ObjectiveConfig):
    """Options of objective `latent-likelihood`: its weight is the paper's λ_L of fitting."""

    def plan(self, given: ObjectiveInputs) -> Plan:
        """Needs the prior."""
        return Plan(inputs={"code": (given.code,)}, outputs={"loss": ()}, needs=("prior",))
