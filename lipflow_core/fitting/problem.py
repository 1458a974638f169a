"""The minimised problem: the objectives of a batch of frames, and everything constant while codes change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.errors import SpecError
from lipflow_core.interfaces import ConditionedPrior, Objective, State
from lipflow_core.observing import cameras_of, observe, shows_nothing, sound, view_directions
from lipflow_core.plans import Needs
from lipflow_core.records import Camera, Frame, Residuals, Template
from lipflow_core.splits import check_finite


@dataclass(frozen=True)
class Problem:
    """A function from codes of B frames to one loss per objective and frame.

    Only what the objectives declare in their plan's `needs` is computed, once for all of them: one decoding for all
    views of all observations, one rendering per picture size.

    Args:
        avatar: Assembled model, frozen by the caller (`frozen`).
        objectives: Objectives by name.
        target: Frames with the observations that the objectives compare with, on the model's device.
        prior: Prior conditioned on each frame's driving signal; None if it is not needed.
        template: Template of the subject.
        needs: Needs of the objectives.
        moving: Observations whose cameras move with the fitted pose.
        cameras: Observation's name → its cameras before the pose is applied.
        directions: (B, N, 3) view directions of all rendered pictures before the pose is applied.
        space: Space of the points that losses are computed at, "code" or "base".
    """

    avatar: Avatar
    objectives: Mapping[str, Objective]
    target: Frame
    prior: ConditionedPrior | None
    template: Template
    needs: Needs
    moving: frozenset[str]
    cameras: Mapping[str, Camera]
    directions: Tensor | None
    space: str = "code"

    @classmethod
    def of(
        cls,
        avatar: Avatar,
        target: Frame,
        objectives: Mapping[str, Objective],
        start: str = "prior",
        space: str = "code",
    ) -> Problem:
        """Make the problem of some frames: condition the prior once and precompute everything that stays constant.

        Args:
            avatar: Assembled model.
            target: B frames with all targets, and with the driving observation if the prior is used and needs it.
            objectives: Objectives by name.
            start: Code that fitting starts from, "prior" or "zero"; "zero" does not need the prior.
            space: Space of the points that losses are computed at, "code" or "base"; "base" needs the prior.

        Raises:
            lipflow_core.errors.SpecError: If an objective needs an observation that the frames lack, or the prior has
                no base space although `space` is "base".
            lipflow_core.errors.CaptureError: If a target or driving observation holds NaN or infinity.
        """
        needs = Needs.of(objective.planned for objective in objectives.values())
        asked = needs.prior or start == "prior" or space == "base"
        driven = asked and avatar.driving is not None and "driving" in avatar.fitting_prior.planned.needs
        used = dict.fromkeys([*needs.targets, *([avatar.driving.modality] if driven else [])])
        for name in used:
            if name not in target.observations:
                raise SpecError(
                    f"fitting needs the observation '{name}', but the frames have {', '.join(target.observations)}",
                    hint="choose objectives for observations of the capture, or load this observation too",
                )
        target = replace(target, observations={name: target[name] for name in used}).to(avatar.device)
        check_finite(target)
        with torch.no_grad():
            encoding = avatar.drive(target) if driven else None
            prior = avatar.fitting_prior.condition(encoding) if asked else None
            if space == "base":
                _check_base(prior)
        compared = replace(target, observations={name: target[name] for name in needs.targets})
        cameras = cameras_of(target, needs.targets)
        # The pose is that of the driving device. A model without a driving encoder does not tell which cameras those
        # are, so all its targets move.
        driving = None if avatar.driving is None else avatar.driving.modality
        return cls(
            avatar=avatar,
            objectives=objectives,
            target=compared,
            prior=prior,
            template=avatar.template,
            needs=needs,
            moving=frozenset({driving} if driving in cameras else cameras),
            cameras=cameras,
            directions=view_directions(cameras, needs.rendered),
            space=space,
        )

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, index: Tensor) -> Problem:
        """Select frames of the problem; index: (N,) int64, repeats allowed."""
        cameras = {name: camera.rows(index) for name, camera in self.cameras.items()}
        return replace(
            self,
            target=self.target.rows(index),
            prior=None if self.prior is None else self.prior.rows(index),
            cameras=cameras,
            directions=None if self.directions is None else self.directions[index],
        )

    def start(self, start: str) -> Tensor:
        """Return the code that each frame starts from, (B, D): the prior's mode, or zero."""
        if start == "zero":
            return self.template.vertices_mean.new_zeros(len(self), self.code_size)
        with torch.no_grad():
            return self.prior.mode().expand(len(self), -1).contiguous()

    def points(self, codes: Tensor) -> Tensor:
        """Map codes (B, D) to points of the problem's space."""
        if self.space == "code":
            return codes
        with torch.no_grad():
            return self.prior.to_base(codes)

    def codes(self, points: Tensor) -> Tensor:
        """Map points (B, D) of the problem's space to codes; differentiable."""
        return points if self.space == "code" else self.prior.from_base(points)

    @property
    def unseen(self) -> Tensor:
        """(B,) bool, frames whose targets show nothing (see `lipflow_core.observing.shows_nothing`)."""
        return shows_nothing(self.target)

    @property
    def code_size(self) -> int:
        return self.avatar.decoder.given.code

    def losses(self, point: Tensor, pose: Tensor | None = None) -> Tensor:
        """Compute the unweighted loss of every objective.

        Args:
            point: (B, D) codes, or points of the prior's base space if the problem's `space` says so.
            pose: (B, 3, 4) [R|t] pose of the driving device; None for the identity.

        Returns:
            (B, K) in the order of `objectives`; NaN where a decoded vertex is not finite.
        """
        state = self._state(point, pose)
        losses = torch.stack([objective(state, self.target) for objective in self.objectives.values()], dim=1)
        # Renderers draw nothing where vertices are NaN, which may well cost less than a picture.
        return losses if state.face is None else torch.where(sound(state.face)[:, None], losses, torch.nan)

    def residuals(self, point: Tensor, pose: Tensor | None = None) -> list[Residuals | None]:
        """Compute the residuals of every objective, None for those that have none; arguments as in `losses`."""
        state = self._state(point, pose)
        return [objective.residuals(state, self.target) for objective in self.objectives.values()]

    def _state(self, point: Tensor, pose: Tensor | None) -> State:
        code, cameras, directions = self.codes(point), self.cameras, self.directions
        if pose is not None:
            cameras = {
                name: _moved(camera, pose) if name in self.moving else camera for name, camera in cameras.items()
            }
            directions = view_directions(cameras, self.needs.rendered)
        face, renderings = observe(self.avatar, self.template, code, self.needs, cameras, directions)
        return State(
            code=code, prior=self.prior, template=self.template, face=face, renderings=renderings, cameras=cameras
        )


def _check_base(prior: ConditionedPrior) -> None:
    try:
        prior.to_base(prior.mode())
    except NotImplementedError as error:
        raise SpecError(f"fitting.space is 'base', but {error}", hint="set fitting.space=code") from error


def _moved(camera: Camera, pose: Tensor) -> Camera:
    return camera.moved(pose[:, None] if camera.extrinsics.ndim == 4 else pose)
