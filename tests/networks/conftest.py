"""Small faces, pictures and keypoints that the network tests share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
import torch

from lipflow_core.plans import DecoderInputs, EncoderInputs, ObjectiveInputs, Roles
from lipflow_core.records import Camera, FaceState, Keypoints, Record, Template, Topology, Views

ROLES = Roles(surface="face", training_views="frontal", scored_view="frontal")


@dataclass(frozen=True)
class Sizes:
    """Sizes of a capture and of the code."""

    code: int = 8
    vertices: int = 30
    texture: int = 16
    views: int = 3
    colours: int = 1
    height: int = 12
    width: int = 16
    keypoints: int = 5

    @property
    def encoder_inputs(self) -> EncoderInputs:
        return EncoderInputs(code=self.code, observations=self.observations, roles=ROLES)

    @property
    def decoder_inputs(self) -> DecoderInputs:
        return DecoderInputs(code=self.code, vertices=self.vertices, texture=(3, self.texture, self.texture))

    @property
    def objective_inputs(self) -> ObjectiveInputs:
        return ObjectiveInputs(code=self.code, observations=self.observations, roles=ROLES, landmarks=self.keypoints)

    @property
    def observations(self) -> dict[str, dict[str, tuple[int, ...]]]:
        return {
            "face": {"vertices": (self.vertices, 3), "texture": (3, self.texture, self.texture)},
            "headset": {"images": (self.views, self.colours, self.height, self.width)},
            "frontal": {"images": (1, 3, self.height, self.width)},
            "keypoints": {"points": (self.keypoints, 2), "visible": (self.keypoints,)},
        }

    def observe(self, modality: str, batch: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Record:
        """A random observation of this modality."""
        generator = torch.Generator().manual_seed(seed)

        def uniform(*shape: int) -> torch.Tensor:
            return torch.rand(*shape, generator=generator, dtype=torch.float64).to(dtype)

        if modality == "face":
            vertices = 2 * uniform(batch, self.vertices, 3) - 1
            return FaceState(vertices, 2 * uniform(batch, 3, self.texture, self.texture) - 1)
        if modality == "keypoints":
            size = torch.tensor([self.width, self.height], dtype=dtype)
            points = uniform(batch, self.keypoints, 2) * size
            return Keypoints(points, torch.ones_like(points[..., 0]), self.camera(batch, dtype=dtype))
        images = uniform(batch, self.views, self.colours, self.height, self.width)
        return Views(images, self.camera(batch, self.views, dtype=dtype), torch.ones_like(images[:, :, 0]))

    def camera(self, *leading: int, dtype: torch.dtype = torch.float32) -> Camera:
        """Cameras half a metre in front of the face, upright, that see some 200 mm of it."""
        focal = 2.5 * self.width
        intrinsics = torch.tensor(
            [[focal, 0.0, self.width / 2 - 0.5], [0.0, focal, self.height / 2 - 0.5], [0.0, 0.0, 1.0]], dtype=dtype
        )
        extrinsics = torch.tensor([[1.0, 0.0, 0.0, 0.0], [0.0, -1.0, 0.0, 0.0], [0.0, 0.0, -1.0, 500.0]], dtype=dtype)
        return Camera(
            intrinsics.expand(*leading, 3, 3), extrinsics.expand(*leading, 3, 4), height=self.height, width=self.width
        )

    def template(self, dtype: torch.dtype = torch.float32) -> Template:
        """A template with a random mesh of head size and every sixth vertex a landmark."""
        generator = torch.Generator().manual_seed(7)
        mean = 80 * (2 * torch.rand(self.vertices, 3, generator=generator, dtype=torch.float64) - 1)
        nothing = torch.zeros(0, 3, dtype=torch.int64)
        return Template(
            topology=Topology(nothing, torch.zeros(0, 2), nothing),
            vertices_mean=mean.to(dtype),
            vertices_scale=torch.tensor(4.0, dtype=dtype),
            texture_mean=torch.full((3, self.texture, self.texture), 0.5, dtype=dtype),
            texture_scale=torch.tensor(0.2, dtype=dtype),
            landmarks=torch.arange(self.keypoints) * 6 % self.vertices,
        )


@pytest.fixture
def sizes() -> Sizes:
    return Sizes()


@pytest.fixture
def other_sizes() -> Callable[..., Sizes]:
    return Sizes


@pytest.fixture(autouse=True)
def seeded() -> None:
    """Networks draw their initial weights from torch's generator."""
    torch.manual_seed(0)
