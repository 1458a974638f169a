"""What is minimised: the objectives of a batch of frames, and everything that is constant while codes change."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from lipflow_core.avatar import Avatar
from lipflow_core.errors import SpecError
from lipflow_core.frames import check_finite
from lipflow_core.interfaces import ConditionedPrior, Objective, State
from lipflow_core.records import Camera, FaceState, Frame, Rendering, Template


@dataclass(frozen=True)
class Problem:
    """Codes of B frames → one loss per objective and frame.

    Only what the objectives declare in their plan's `needs` is made, once for all of them: one decoding for all views
    of all observations, one rendering per picture size.

    Args:
        avatar: The assembled model, frozen by the caller (`frozen`).
        objectives: By name.
        target: The observations that the objectives compare with, on the model's device.
        prior: The prior given each frame's driving signal.
        template: The subject's template.
        rendered: Observations that are rendered, those of one picture size beside each other.
        needs_face: Whether any objective looks at the decoded face.
        moving: Observations whose cameras move with the fitted pose.
        cameras: Observation → its cameras with the head at rest.
        directions: (B, N, 3) view directions of all rendered pictures with the head at rest.
    """

    avatar: Avatar
    objectives: Mapping[str, Objective]
    target: Frame
    prior: ConditionedPrior
    template: Template
    rendered: tuple[str, ...]
    needs_face: bool
    moving: frozenset[str]
    cameras: Mapping[str, Camera]
    directions: Tensor | None

    @classmethod
    def of(cls, avatar: Avatar, target: Frame, objectives: Mapping[str, Objective]) -> Problem:
        """Condition the prior once and set aside all that stays constant.

        Args:
            avatar: The assembled model.
            target: B frames with the driving observation, if the prior needs it, and all targets.
            objectives: By name.

        Raises:
            SpecError: If an objective needs an observation that the frames lack.
            CaptureError: If a target or driving observation holds NaN or infinity.
        """
        needs = [need for objective in objectives.values() for need in objective.planned.needs]
        rendered = _named(needs, "render:")
        targets = _unique([*rendered, *_named(needs, "target:")])
        driven = "driving" in avatar.fitting_prior.planned.needs and avatar.driving is not None
        used = _unique([*targets, *([avatar.driving.modality] if driven else [])])
        for name in used:
            if name not in target.observations:
                raise SpecError(
                    f"fitting needs the observation '{name}', but the frames have {', '.join(target.observations)}",
                    hint="choose objectives for what the capture offers, or load that observation too",
                )
        target = replace(target, observations={name: target[name] for name in used}).to(avatar.device)
        check_finite(target)
        with torch.no_grad():
            prior = avatar.fitting_prior.condition(avatar.drive(target) if driven else None)
        compared = replace(target, observations={name: target[name] for name in targets})
        cameras = {name: target[name].camera for name in targets if hasattr(target[name], "camera")}
        rendered = tuple(name for group in _by_size(cameras, rendered) for name in group)
        # The headset's pose moves the headset's cameras. A model without a driving encoder has no say in which those
        # are, so that all its targets move.
        headset = avatar.driving.modality if avatar.driving is not None else None
        return cls(
            avatar=avatar,
            objectives=objectives,
            target=compared,
            prior=prior,
            template=avatar.template,
            rendered=rendered,
            needs_face=bool(rendered) or "vertices" in needs,
            moving=frozenset({headset} if headset in cameras else cameras),
            cameras=cameras,
            directions=_directions(cameras, rendered),
        )

    def __len__(self) -> int:
        return len(self.target)

    def rows(self, index: Tensor) -> Problem:
        """The same problem for the frames that `index` names; (N,) int64, repeats allowed."""
        cameras = {name: camera.rows(index) for name, camera in self.cameras.items()}
        return replace(
            self,
            target=self.target.rows(index),
            prior=self.prior.rows(index),
            cameras=cameras,
            directions=None if self.directions is None else self.directions[index],
        )

    def start(self, start: str) -> Tensor:
        """The first code of each frame, (B, D): the prior's mode, or zero."""
        if start == "zero":
            return self.template.vertices_mean.new_zeros(len(self), self.code_size)
        with torch.no_grad():
            return self.prior.mode().expand(len(self), -1).contiguous()

    @property
    def code_size(self) -> int:
        return self.avatar.decoder.given.code

    def losses(self, code: Tensor, pose: Tensor | None = None) -> Tensor:
        """Every objective's unweighted loss.

        Args:
            code: (B, D).
            pose: (B, 3, 4) the headset's pose, or None for the head at rest.

        Returns:
            (B, K) in the order of `objectives`.
        """
        cameras, directions = self.cameras, self.directions
        if pose is not None:
            cameras = {
                name: _moved(camera, pose) if name in self.moving else camera for name, camera in cameras.items()
            }
            directions = _directions(cameras, self.rendered)
        face, renderings = self._make(code, cameras, directions)
        state = State(
            code=code, prior=self.prior, template=self.template, face=face, renderings=renderings, cameras=cameras
        )
        return torch.stack([objective(state, self.target) for objective in self.objectives.values()], dim=1)

    def _make(
        self, code: Tensor, cameras: Mapping[str, Camera], directions: Tensor | None
    ) -> tuple[FaceState | None, dict[str, Rendering]]:
        if not self.needs_face:
            return None, {}
        if directions is None:
            return FaceState(self.avatar.geometry(code)), {}
        face = self.template.restore(self.avatar.decoder(code, directions))
        renderings: dict[str, Rendering] = {}
        first = 0
        for names in _by_size(cameras, self.rendered):
            camera = _joined([cameras[name] for name in names])
            last = first + camera.extrinsics.shape[1]
            rendering = self.avatar.render(FaceState(face.vertices, face.texture[:, first:last]), camera)
            renderings |= _parted(rendering, {name: cameras[name].extrinsics.shape[1] for name in names})
            first = last
        return face, renderings


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients to parameters inside; everything as before outside."""
    modes = {module: module.training for module in model.modules()}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learning:
            parameter.requires_grad_(True)
        for module, mode in modes.items():
            module.training = mode


def _named(needs: Sequence[str], prefix: str) -> tuple[str, ...]:
    return _unique([need.removeprefix(prefix) for need in needs if need.startswith(prefix)])


def _unique(names: Sequence[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


def _by_size(cameras: Mapping[str, Camera], rendered: Sequence[str]) -> list[list[str]]:
    """Observations whose pictures are of one size, and so can be drawn at once."""
    groups: dict[tuple[int, int], list[str]] = {}
    for name in rendered:
        groups.setdefault((cameras[name].height, cameras[name].width), []).append(name)
    return list(groups.values())


def _joined(cameras: Sequence[Camera]) -> Camera:
    """The views of all observations, (B, N), as those of one."""
    if len(cameras) == 1:
        return cameras[0]
    intrinsics = torch.cat([camera.intrinsics for camera in cameras], dim=1)
    return replace(
        cameras[0], intrinsics=intrinsics, extrinsics=torch.cat([camera.extrinsics for camera in cameras], dim=1)
    )


def _parted(rendering: Rendering, views: Mapping[str, int]) -> dict[str, Rendering]:
    """Each observation's part of a rendering of B times all their views."""
    if len(views) == 1:
        return dict.fromkeys(views, rendering)
    parts, first, every = {}, 0, sum(views.values())
    for name, count in views.items():

        def part(tensor: Tensor, first: int = first, last: int = first + count) -> Tensor:
            return tensor.unflatten(0, (-1, every))[:, first:last].flatten(0, 1)

        parts[name] = rendering.apply(part)
        first += count
    return parts


def _directions(cameras: Mapping[str, Camera], rendered: Sequence[str]) -> Tensor | None:
    return torch.cat([cameras[name].view_direction for name in rendered], dim=1) if rendered else None


def _moved(camera: Camera, pose: Tensor) -> Camera:
    return camera.moved(pose[:, None] if camera.extrinsics.ndim == 4 else pose)
