"""The assembled model: components in their slots, and the subject's template that ties them to millimetres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from lipflow_core.errors import SpecError
from lipflow_core.interfaces import Decoder, LatentPrior, ObservationEncoder, Renderer
from lipflow_core.plans import Plan, Roles
from lipflow_core.records import Camera, Encoding, FaceState, Frame, Rendering, Template, Topology


class TemplateBuffers(nn.Module):
    """A `Template` as buffers, so that it moves and saves with the model."""

    def __init__(self, template: Template):
        super().__init__()
        self.set(template)

    def set(self, template: Template) -> None:
        """Replace the template."""
        topology = template.topology
        tensors = {
            "triangles": topology.triangles,
            "uv": topology.uv,
            "uv_triangles": topology.uv_triangles,
            "vertices_mean": template.vertices_mean,
            "vertices_scale": template.vertices_scale,
            "texture_mean": template.texture_mean,
            "texture_scale": template.texture_scale,
            "landmarks": template.landmarks,
        }
        for name, tensor in tensors.items():
            self.register_buffer(name, tensor.detach().clone())

    @property
    def record(self) -> Template:
        return Template(
            topology=Topology(self.triangles, self.uv, self.uv_triangles),
            vertices_mean=self.vertices_mean,
            vertices_scale=self.vertices_scale,
            texture_mean=self.texture_mean,
            texture_scale=self.texture_scale,
            landmarks=self.landmarks,
        )


class Avatar(nn.Module):
    """A latent-variable face model: encoders, priors, decoder and renderer, assembled.

    Args:
        encoder: Training-time encoder Q; may be the very object given as `driving`.
        driving: Inference-time encoder P, or None.
        prior: The prior of training.
        decoder: The decoder D.
        renderer: The renderer R.
        template: The subject's template.
        stage_priors: Training stage's name → its prior, where that differs.
        fitting_prior: The prior while fitting; `prior` if None.
        capture: Plan of the capture that it was assembled for: shapes and roles; None if unknown.

    Example:
        >>> avatar = lipflow_core.assemble(lipflow_core.load_spec("lip-flow-hmc", ["preset=tiny"]))
        >>> code = avatar.encode(frame).mean
        >>> camera = frame[avatar.roles.scored_view].camera
        >>> picture = avatar.render(avatar.decode(code, camera), camera).image
    """

    def __init__(
        self,
        *,
        encoder: ObservationEncoder,
        driving: ObservationEncoder | None,
        prior: LatentPrior,
        decoder: Decoder,
        renderer: Renderer,
        template: Template,
        stage_priors: Mapping[str, LatentPrior] | None = None,
        fitting_prior: LatentPrior | None = None,
        capture: Plan | None = None,
    ):
        super().__init__()
        self.encoder = encoder
        self.driving = driving
        self.prior = prior
        self.decoder = decoder
        self.renderer = renderer
        # ModuleDict refuses names that it has as attributes, and a stage may well be called "train".
        self.stage_priors = nn.ModuleDict({f"stage {name}": prior for name, prior in (stage_priors or {}).items()})
        self.fitting_prior = prior if fitting_prior is None else fitting_prior
        self.template_buffers = TemplateBuffers(template)
        self.capture = capture

    @property
    def template(self) -> Template:
        """The subject's template, on the model's device."""
        return self.template_buffers.record

    @template.setter
    def template(self, template: Template) -> None:
        self.template_buffers.set(template.to(self.template_buffers.uv.device))

    @property
    def device(self) -> torch.device:
        return self.template_buffers.uv.device

    @property
    def roles(self) -> Roles:
        """Which observations of its capture the core uses.

        Raises:
            lipflow_core.errors.SpecError: If it was put together without a capture's plan.
        """
        if self.capture is None or self.capture.roles is None:
            raise SpecError("this model knows no capture", "assemble it from a spec, or give Avatar(capture=…) a plan")
        return self.capture.roles

    def part(self, name: str) -> nn.Module | None:
        """The component in slot "encoder", "driving", "prior", "decoder" or "renderer"."""
        return getattr(self, name)

    def prior_of(self, stage: str) -> LatentPrior:
        """The prior that a training stage uses."""
        key = f"stage {stage}"
        return self.stage_priors[key] if key in self.stage_priors else self.prior  # noqa: SIM401

    def priors(self) -> Iterator[LatentPrior]:
        """Every distinct prior: training's, the stages', fitting's."""
        seen: set[int] = set()
        for prior in (self.prior, *self.stage_priors.values(), self.fitting_prior):
            if id(prior) not in seen:
                seen.add(id(prior))
                yield prior

    def encode(self, frame: Frame) -> Encoding:
        """Q's posterior of each sample; the frame needs the observation `encoder.modality`."""
        return self._encode(self.encoder, frame)

    def drive(self, frame: Frame) -> Encoding | None:
        """P's encoding of each sample, None without a driving encoder."""
        return None if self.driving is None else self._encode(self.driving, frame)

    def _encode(self, encoder: ObservationEncoder, frame: Frame) -> Encoding:
        observation = frame[encoder.modality]
        if isinstance(observation, FaceState):
            observation = self.template.standardize(observation)
        return encoder(observation)

    def decode(self, code: Tensor, camera: Camera) -> FaceState:
        """Decode for cameras.

        Args:
            code: (B, D).
            camera: Leading axes (B, N), head frame → camera.

        Returns:
            vertices (B, V, 3) in millimetres, texture (B, N, 3, T, T) in [0, 1] (not clamped).
        """
        return self.template.restore(self.decoder(code, camera.view_direction))

    def geometry(self, code: Tensor) -> Tensor:
        """Vertices (B, V, 3) in millimetres, without the texture."""
        return self.template.restore(FaceState(self.decoder.geometry(code))).vertices

    def render(self, face: FaceState, camera: Camera, background: Tensor | None = None) -> Rendering:
        """Draw a decoded face from its cameras.

        Args:
            face: vertices (B, V, 3) millimetres, texture (B, N, 3, T, T).
            camera: Leading axes (B, N).
            background: (B·N or 1, 3, H, W); black if None.

        Returns:
            Rendering of B·N pictures, ordered sample by sample.
        """
        views = camera.extrinsics.shape[1]
        vertices = repeat(face.vertices, "b v xyz -> (b n) v xyz", n=views)
        texture = rearrange(face.texture, "b n c h w -> (b n) c h w")
        return self.renderer(vertices, texture, self.template.topology, camera.flatten(), background)


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
