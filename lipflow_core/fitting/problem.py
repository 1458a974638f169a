"""The minimised problem: the objectives of a batch of frames, and everything constant while codes change."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipflow_core.avatar import Avatar
from lipflow_core.errors import SpecError
from lipflow_core.fitting.pose import perturbations
from lipflow_core.fitting.regions import restricted_masks, with_masks
from lipflow_core.interfaces import ConditionedPrior, Objective, State, TemporalPrior
from lipflow_core.observing import cameras_of, observe, shows_nothing, sound, view_directions
from lipflow_core.plans import Needs
from lipflow_core.records import Camera, Frame, Residuals, Template
from lipflow_core.seeing import Sight
from lipflow_core.specs.model import Perturbation


@dataclass(frozen=True)
class Problem:
    """A function from codes of B frames to one loss per objective and frame, and to the energy of their runs.

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
        masks: Objective's name → observation's name → mask (B, N, H, W) restricted to the objective's regions.
        displacement: (B, 3, 4) [R|t] by which the moving cameras are displaced from the true ones; None for none.
        cameras: Observation's name → its cameras, displaced, before the pose is applied.
        directions: (B, N, 3) view directions of all rendered pictures before the pose is applied.
        space: Space of the points that losses are computed at, "code" or "base".
        temporal: Temporal prior of the runs; None to take each frame alone.
        sight: Tiles that triangles show; None to decode textures whole.
    """

    avatar: Avatar
    objectives: Mapping[str, Objective]
    target: Frame
    prior: ConditionedPrior | None
    template: Template
    needs: Needs
    moving: frozenset[str]
    masks: Mapping[str, Mapping[str, Tensor]]
    displacement: Tensor | None
    cameras: Mapping[str, Camera]
    directions: Tensor | None
    space: str = "code"
    temporal: TemporalPrior | None = None
    sight: Sight | None = None

    @classmethod
    def of(
        cls,
        avatar: Avatar,
        target: Frame,
        objectives: Mapping[str, Objective],
        start: str = "prior",
        perturbation: Perturbation | None = None,
        space: str = "code",
        temporal: TemporalPrior | None = None,
    ) -> Problem:
        """Make the problem of some frames: condition the prior once and precompute everything that stays constant.

        Args:
            avatar: Assembled model.
            target: B frames with all targets, and with the driving observation if the prior is used and needs it.
            objectives: Objectives by name.
            start: Code that fitting starts from, "prior" or "zero"; "zero" does not need the prior.
            perturbation: Random error of the driving cameras' pose.
            space: Space of the points that losses are computed at, "code" or "base"; "base" needs the prior.
            temporal: Temporal prior of the runs; None to take each frame alone.

        Raises:
            lipflow_core.errors.SpecError: If an objective needs an observation that the frames lack, or a region that
                the template lacks; or if `space` or the temporal prior needs a base space that the prior lacks.
            lipflow_core.errors.CaptureError: If a target or driving observation is not as its record promises (see
                `lipflow_core.records.Frame.check`).
        """
        needs = Needs.of(objective.planned for objective in objectives.values())
        walks_in_base = temporal is not None and "base" in temporal.planned.needs
        asked = needs.prior or start == "prior" or space == "base" or walks_in_base
        driven = asked and avatar.driving is not None and "driving" in avatar.fitting_prior.planned.needs
        surface = [avatar.roles.surface] if needs.regions else []
        used = dict.fromkeys([*needs.targets, *surface, *([avatar.driving.modality] if driven else [])])
        for name in used:
            if name not in target.observations:
                raise SpecError(
                    f"fitting needs the observation '{name}', but the frames have {', '.join(target.observations)}",
                    hint="choose objectives for observations of the capture, or load this observation too",
                )
        target = replace(target, observations={name: target[name] for name in used})
        target.check()
        target = avatar.bring(target)
        with torch.no_grad():
            encoding = avatar.drive(target) if driven else None
            prior = avatar.fitting_prior.condition(encoding) if asked else None
            if space == "base" or walks_in_base:
                _check_base(avatar, prior, "fitting.space" if space == "base" else "fitting.temporal.space")
        # By the true cameras: they tell which pixels show a region.
        masks = restricted_masks(avatar, target, objectives)
        compared = replace(target, observations={name: target[name] for name in needs.targets})
        cameras = cameras_of(target, needs.targets)
        # The pose is that of the driving device. A model without a driving encoder does not tell which cameras those
        # are, so all its targets move.
        moving = frozenset(cameras if avatar.driving is None else cameras.keys() & {avatar.driving.modality})
        displacement = None
        if perturbation is not None and moving:
            drawn = perturbations(target.segments, target.numbers.tolist(), perturbation)
            displacement = drawn.to(avatar.template.vertices_mean)
            cameras = {n: _moved(camera, displacement) if n in moving else camera for n, camera in cameras.items()}
            displaced = {name: replace(compared[name], camera=cameras[name]) for name in moving}
            compared = replace(compared, observations={**compared.observations, **displaced})
        return cls(
            avatar=avatar,
            objectives=objectives,
            target=compared,
            prior=prior,
            template=avatar.template,
            needs=needs,
            moving=moving,
            masks=masks,
            displacement=displacement,
            cameras=cameras,
            directions=view_directions(cameras, needs.rendered),
            space=space,
            temporal=temporal,
            sight=Sight.of(avatar, avatar.template) if needs.rendered else None,
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
            masks={
                objective: {name: mask[index] for name, mask in masks.items()}
                for objective, masks in self.masks.items()
            },
            displacement=None if self.displacement is None else self.displacement[index],
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

    def codes(self, points: Tensor, frames: Tensor | None = None) -> Tensor:
        """Map points of the problem's space to codes; differentiable.

        Args:
            points: (B, D), a point for each frame; (R, D) with `frames`.
            frames: (R,) int64 index of the frame of each point.
        """
        if self.space == "code":
            return points
        return (self.prior if frames is None else self.prior.rows(frames)).from_base(points)

    @property
    def unseen(self) -> Tensor:
        """(B,) bool, frames whose targets show nothing (see `lipflow_core.observing.shows_nothing`)."""
        seen = []
        for name, objective in self.objectives.items():
            targets, whole = Needs.of([objective.planned]).targets, self.target_of(name)
            seen.append(replace(whole, observations={target: whole[target] for target in targets}))
        shown = [~shows_nothing(frame) for frame in seen if frame.observations]
        if not shown:
            return torch.zeros(len(self), dtype=torch.bool, device=self.target.numbers.device)
        return ~torch.stack(shown).any(dim=0)

    def target_of(self, objective: str) -> Frame:
        """Give what an objective compares with: the target, with the masks restricted to the objective's regions."""
        return with_masks(self.target, self.masks.get(objective, {}))

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
        losses = [objective(state, self.target_of(name)) for name, objective in self.objectives.items()]
        return torch.stack(sound(losses, state.face), dim=1)

    def residuals(self, point: Tensor, pose: Tensor | None = None) -> list[Residuals | None]:
        """Compute the residuals of every objective, None for those that have none; arguments as in `losses`."""
        state = self._state(point, pose)
        return [objective.residuals(state, self.target_of(name)) for name, objective in self.objectives.items()]

    def energies(self, point: Tensor, follows: Tensor) -> Tensor:
        """Compute each frame's share of the unweighted energy of its run by the temporal prior.

        Args:
            point: (B, D) codes, or points of the prior's base space if the problem's `space` says so, run by run.
            follows: (B,) bool, whether the frame comes right after the frame in the row before.

        Returns:
            (B,).
        """
        assert self.temporal is not None  # the caller asks only then
        based = "base" in self.temporal.planned.needs
        if based == (self.space == "base"):
            return self.temporal(point, follows)
        return self.temporal(self.prior.to_base(point) if based else self.codes(point), follows)

    def _state(self, point: Tensor, pose: Tensor | None) -> State:
        code, cameras, directions = self.codes(point), self.cameras, self.directions
        if pose is not None:
            cameras = {
                name: _moved(camera, pose) if name in self.moving else camera for name, camera in cameras.items()
            }
            directions = view_directions(cameras, self.needs.rendered)
        face, renderings = observe(self.avatar, self.template, code, self.needs, cameras, directions, self.sight)
        return State(
            code=code, prior=self.prior, template=self.template, face=face, renderings=renderings, cameras=cameras
        )


def _check_base(avatar: Avatar, prior: ConditionedPrior, option: str) -> None:
    try:
        prior.to_base(prior.mode())
    except NotImplementedError as error:
        raise SpecError(
            f"{option} is 'base', but the prior ({type(avatar.fitting_prior).__name__}) has no base space: its "
            "density implements neither to_base nor from_base",
            hint=f"set {option}=code",
        ) from error


def _moved(camera: Camera, pose: Tensor) -> Camera:
    return camera.moved(pose[:, None] if camera.extrinsics.ndim == 4 else pose)
