"""Metric `keypoint-error`: the distance of projected landmarks from the keypoints."""

from __future__ import annotations

from torch import Tensor

from lipflow_core.interfaces import Metric, State
from lipflow_core.records import Frame


class KeypointError(Metric):
    """Mean distance in pixels over visible keypoints: Σ_k v_k ‖π(M_k) − x_k‖ / Σ_k v_k; NaN without a visible one."""

    def score(self, state: State, target: Frame) -> Tensor:
        keypoints, camera = target[self.config.target], state.cameras[self.config.target]
        projected, _ = camera.project(state.face.vertices[:, state.template.landmarks])
        distance = (projected - keypoints.points).norm(dim=-1)
        return (distance * keypoints.visible).sum(dim=-1) / keypoints.visible.sum(dim=-1)
