"""Makes states and targets for objectives and metrics: random, equal to the truth, or limited to a plan's `needs`."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from lipflow_core.interfaces import ConditionedPrior, State
from lipflow_core.plans import Needs, Plan
from lipflow_core.records import Encoding, FaceState, Frame, Rendering
from lipflow_core.testing import inputs
from lipflow_core.testing.subject import Subject
from lipflow_core.testing.world import AT_LEAST, cast

FLOAT64 = torch.float64


class UnitGaussian(ConditionedPrior):
    """Defines N(0, I) over the code, a prior that every objective can be tried with."""

    def log_prob(self, code: Tensor) -> Tensor:
        return -0.5 * (code.square() + math.log(2 * math.pi)).sum(-1)

    def mode(self) -> Tensor:
        return torch.zeros(1, inputs.CODE, dtype=FLOAT64)

    def sample(self, count: int, generator: torch.Generator | None = None) -> Tensor:
        return torch.randn(count, 1, inputs.CODE, generator=generator, dtype=FLOAT64)

    def rows(self, index: Tensor) -> ConditionedPrior:
        return self


@dataclass(frozen=True)
class Scene:
    """Holds the arguments of an objective or metric.

    Args:
        state: State with all fields filled.
        target: Frames with all observations.
        leaves: Need → the tensor that gradients can reach through it; for "prior" this is the code.
    """

    state: State
    target: Frame
    leaves: dict[str, Tensor]

    def seen(self, needs: Iterable[str]) -> Scene:
        """Copy the scene, limited to what the core makes for a plan with these needs."""
        named = tuple(needs)
        made = Needs.of([Plan(needs=named)])
        state = replace(
            self.state,
            face=self.state.face if made.face else None,
            renderings={name: self.state.renderings[name] for name in made.rendered if name in self.state.renderings},
            cameras={name: self.state.cameras[name] for name in made.targets if name in self.state.cameras},
            prior=self.state.prior if "prior" in named else None,
            posterior=self.state.posterior if "posterior" in named else None,
            divergence=self.state.divergence if "divergence" in named else None,
            neighbours=self.state.neighbours if made.neighbours else None,
            pose=self.state.pose if made.pose else None,
        )
        offered = {name: self.target[name] for name in made.targets if name in self.target.observations}
        return replace(self, state=state, target=replace(self.target, observations=offered))


def scene(subject: Subject, batch: int, *, seed: int = 0, dtype: torch.dtype = FLOAT64, true: bool = False) -> Scene:
    """Make a scene in the subject's world.

    Args:
        subject: Subject that is examined.
        batch: Number of samples; sample i of a seed is the same in batches of any size.
        seed: Seed of the content.
        dtype: Type of all real numbers.
        true: Whether the decoded surface and the renderings equal the target; if False, they are random.
    """
    world, count = subject.world, max(batch, AT_LEAST)
    target, template = world.frame(count, seed=seed, dtype=dtype), cast(world.template, dtype)

    def normal(number: int, *shape: int) -> Tensor:
        return inputs.normal(seed + number, count, *shape, dtype=dtype)

    surface = target[world.roles.surface]
    moved = template.vertices_mean + template.vertices_scale * normal(41, *template.vertices_mean.shape)
    mean, log_std, code = (normal(number, inputs.CODE) for number in (38, 39, 40))
    leaves = {
        "prior": code,
        "posterior": torch.stack([mean, 0.3 * log_std - 0.5], dim=1),
        "divergence": normal(37).square(),
        "vertices": surface.vertices if true else moved,
    }
    # True neighbours are a surface that stays as it is, a true pose is that of undisplaced cameras.
    still, shift = torch.stack([leaves["vertices"]] * 2, dim=1), normal(34, 3, 4)
    leaves["neighbours"] = still if true else still + normal(35, *still.shape[1:])
    pose = torch.eye(3, 4, dtype=dtype).expand(count, 3, 4).clone()
    if not true:
        pose[:, :, :3] = torch.linalg.matrix_exp(shift[:, :, :3] - shift[:, :, :3].mT)
        pose[:, :, 3] = shift[:, :, 3]
    leaves["pose"] = pose
    cameras = {name: record.camera for name, record in target.observations.items() if hasattr(record, "camera")}
    for number, (name, camera) in enumerate(cameras.items()):
        if camera.extrinsics.ndim == 4:  # several pictures of each sample
            shape = (camera.extrinsics.shape[1], 3, camera.height, camera.width)
            seen = getattr(target[name], "images", None) if true else None
            random = 0.5 + 0.2 * normal(42 + number, *shape)
            leaves[f"render:{name}"] = random if seen is None else seen.expand(count, *shape)
    features, index = normal(36, inputs.FEATURES), torch.arange(batch)
    leaves = {name: leaf[index].clone().requires_grad_() for name, leaf in leaves.items()}
    mean, log_std = leaves["posterior"].unbind(1)
    state = State(
        code=leaves["prior"],
        template=template,
        face=FaceState(leaves["vertices"]),
        renderings={
            name.removeprefix("render:"): _rendering(images)
            for name, images in leaves.items()
            if name.startswith("render:")
        },
        cameras={name: camera.rows(index) for name, camera in cameras.items()},
        prior=UnitGaussian(),
        posterior=Encoding(mean, log_std, features[index]),
        divergence=leaves["divergence"],
        neighbours=leaves["neighbours"],
        pose=leaves["pose"],
    )
    return Scene(state, target.rows(index), leaves)


def _rendering(images: Tensor) -> Rendering:
    """Make the rendering of a wall, 400 mm away, that fills pictures (B, N, 3, H, W)."""
    images = images.flatten(0, 1)
    pixels = torch.ones_like(images[:, 0]).detach()
    first = torch.zeros_like(pixels, dtype=torch.int64)
    return Rendering(images, pixels, 400 * pixels, first, torch.full_like(images, 1 / 3).detach())
