"""Defines the state of a step, which objectives and metrics take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from torch import Tensor

from lipflow_core.interfaces.prior import ConditionedPrior
from lipflow_core.records import Camera, Encoding, FaceState, Rendering, Template


@dataclass(frozen=True)
class State:
    """Holds codes of B samples and what was computed from them, at one step of training or fitting, or for scoring.

    Only what the plans of the objectives or metrics name in their `needs` is computed; the rest is None or empty.

    Args:
        code: (B, D) latent codes.
        template: Template of the subject.
        face: Decoded face, vertices in millimetres and texture in [0, 1], for needs "vertices" and "render:NAME"; the
            texture is None unless something is rendered, and in fits that decode only the texels that pictures show.
        renderings: Observation's name → renderings of its N views, B·N pictures ordered sample by sample; for need
            "render:NAME".
        cameras: Observation's name → its cameras, moved by the fitted pose; leading axes (B, N), of keypoints (B,). For
            needs "render:NAME" and "target:NAME".
        prior: Prior conditioned on each sample's driving signal; in fitting, for need "prior".
        posterior: Q's Gaussian over the code; in training, for need "posterior".
        divergence: (B,) divergence of the posterior from the stage's prior, nats per dimension; in training, for need
            "divergence".
        neighbours: (B, 2, V, 3) millimetres, vertices decoded for the frames whose numbers are one lower and one higher
            in the same segment; NaN where such a frame is not scored. For need "neighbours" of metrics.
        pose: (B, 3, 4) [R|t] by which the driving cameras are displaced from the true ones, millimetres, in the head
            frame; for need "pose" of metrics.
    """

    code: Tensor
    template: Template
    face: FaceState | None = None
    renderings: Mapping[str, Rendering] = field(default_factory=dict)
    cameras: Mapping[str, Camera] = field(default_factory=dict)
    prior: ConditionedPrior | None = None
    posterior: Encoding | None = None
    divergence: Tensor | None = None
    neighbours: Tensor | None = None
    pose: Tensor | None = None
