"""Objective `keypoint`: the squared distance of projected landmarks from the target's keypoints."""

from __future__ import annotations

import torch
from torch import Tensor

from lipflow_core.interfaces import Objective, State
from lipflow_core.records import Camera, Frame, Residuals, Template


class KeypointObjective(Objective):
    """Mean squared distance of projected landmarks to keypoints: Σ_k v_k ‖π(M_k) − x_k‖² / (2 Σ_k v_k u²).

    v_k is the visibility of a target keypoint, u the unit in pixels, 2 the number of axes. A row without a visible
    keypoint has loss 0.
    """

    def loss(self, state: State, target: Frame) -> Tensor:
        keypoints, camera = target[self.config.target], state.cameras[self.config.target]
        projected, _ = camera.project(state.face.vertices[:, state.template.landmarks])
        error = (projected - keypoints.points).square().mean(dim=-1)
        weighted = (error * keypoints.visible).sum(dim=-1) / keypoints.visible.sum(dim=-1).clamp(min=1e-6)
        return weighted / self.unit(camera, state.template).square()

    def residuals(self, state: State, target: Frame) -> Residuals:
        keypoints, camera = target[self.config.target], state.cameras[self.config.target]
        projected, _ = camera.project(state.face.vertices[:, state.template.landmarks])
        shares = keypoints.visible / keypoints.visible.sum(dim=-1, keepdim=True).clamp(min=1e-6)
        shares = shares / (2 * self.unit(camera, state.template).square().reshape(-1, 1))
        return Residuals((projected - keypoints.points).flatten(1), shares.repeat_interleave(2, dim=1))

    def unit(self, camera: Camera, template: Template) -> Tensor:
        """Compute the number of pixels per unit of distance, () or (B,)."""
        match self.config.unit:
            case "width":
                return torch.as_tensor(float(camera.width)).to(camera.extrinsics)
            case "pixel":
                return torch.ones_like(camera.extrinsics[..., 0, 0])
        # Detached: a fitted pose must not lower the loss by moving the head away.
        camera = camera.apply(torch.Tensor.detach)
        focal = (camera.intrinsics[..., 0, 0] * camera.intrinsics[..., 1, 1]).sqrt()
        distance = torch.linalg.vector_norm(camera.extrinsics[..., 3], dim=-1)
        return focal * template.vertices_scale / distance.clamp(min=1e-3)
