"""The assembled model: components in their slots, and the subject's template, which gives them millimetres."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from typing import TypeVar

import torch
from einops import rearrange, repeat
from torch import Tensor, nn

from lipflow_core.errors import SpecError
from lipflow_core.interfaces import Decoder, Foldable, LatentPrior, ObservationEncoder, Renderer
from lipflow_core.plans import Plan, Roles
from lipflow_core.records import Camera, Encoding, FaceState, Frame, Record, Rendering, Template, Topology

R = TypeVar("R", bound=Record)

SLOTS: Mapping[str, type[nn.Module]] = {
    "encoder": ObservationEncoder,
    "driving": ObservationEncoder,
    "prior": LatentPrior,
    "decoder": Decoder,
    "renderer": Renderer,
}
"""Slot of an avatar → interface of the component in it."""
REGION = "region "
"""Prefix of the names of buffers that hold a template's regions."""


class TemplateBuffers(nn.Module):
    """Module that holds a `Template` as buffers, so that it moves and is saved with the model."""

    def __init__(self, template: Template):
        super().__init__()
        self.set(template)

    def set(self, template: Template) -> None:
        """Store a template in place of the present one."""
        for name in [name for name in self._buffers if name.startswith(REGION)]:
            delattr(self, name)
        for name, tensor in template.tensors():
            # Names of buffers have no dots.
            region = name.removeprefix("regions.")
            stored = name.removeprefix("topology.") if region == name else REGION + region
            self.register_buffer(stored, tensor.detach().clone())

    @property
    def record(self) -> Template:
        return template_of(dict(self.named_buffers()))


def template_of(tensors: Mapping[str, Tensor]) -> Template:
    """Make a template from the tensors that `TemplateBuffers` holds, by name."""
    topology = {field.name: tensors[field.name] for field in fields(Topology)}
    regions = {name.removeprefix(REGION): t for name, t in tensors.items() if name.startswith(REGION)}
    plain = {name: t for name, t in tensors.items() if name not in topology and not name.startswith(REGION)}
    return Template(Topology(**topology), **plain, regions=regions)


class Avatar(nn.Module):
    """A latent-variable face model: encoders, priors, decoder and renderer, assembled.

    Args:
        encoder: Training-time encoder Q; may be the same object as `driving`.
        driving: Inference-time encoder P, or None.
        prior: Prior used in training.
        decoder: The decoder D.
        renderer: The renderer R.
        template: Template of the subject.
        stage_priors: Training stage's name → its prior, for stages with a prior of their own.
        fitting_prior: Prior used in fitting; `prior` if None.
        capture: Plan of the capture that the model was assembled for, with shapes and roles; None if unknown.

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
        # ModuleDict refuses the names of its own attributes, and a stage may be called "train".
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
        """Roles of its capture's observations: which one is the surface, the training views and the scored view.

        Raises:
            lipflow_core.errors.SpecError: If the model was constructed without a capture's plan.
        """
        if self.capture is None or self.capture.roles is None:
            raise SpecError(
                "this model was constructed without the plan of a capture",
                "assemble it from a spec, or pass the plan as Avatar(capture=…)",
            )
        return self.capture.roles

    def part(self, name: str) -> nn.Module | None:
        """Return the component in one of `SLOTS`; None if it is empty."""
        return getattr(self, name)

    def __repr__(self) -> str:
        parts = [f"{slot}={type(self.part(slot)).__name__}" for slot in SLOTS if self.part(slot) is not None]
        return f"Avatar({', '.join(parts)}, parameters={sum(p.numel() for p in self.parameters())})"

    def prior_of(self, stage: str) -> LatentPrior:
        """Return the prior that a training stage uses."""
        key = f"stage {stage}"
        return self.stage_priors[key] if key in self.stage_priors else self.prior  # noqa: SIM401

    def priors(self) -> Iterator[LatentPrior]:
        """Yield each distinct prior of training, of its stages and of fitting once."""
        seen: set[int] = set()
        for prior in (self.prior, *self.stage_priors.values(), self.fitting_prior):
            if id(prior) not in seen:
                seen.add(id(prior))
                yield prior

    def bring(self, record: R) -> R:
        """Move a record to the model's device, and convert its floating-point tensors to the model's precision."""
        like = self.template_buffers.vertices_mean
        return record.apply(lambda t: t.to(like.device, like.dtype if t.is_floating_point() else None))

    def encode(self, frame: Frame) -> Encoding:
        """Encode each sample to Q's posterior; the frame needs the observation `encoder.modality`."""
        return self._encode(self.encoder, frame)

    def drive(self, frame: Frame) -> Encoding | None:
        """Encode each sample with P; None without a driving encoder. Needs the observation `driving.modality`."""
        return None if self.driving is None else self._encode(self.driving, frame)

    def _encode(self, encoder: ObservationEncoder, frame: Frame) -> Encoding:
        observation = frame[encoder.modality]
        if isinstance(observation, FaceState):
            observation = self.template.standardize(observation)
        return encoder(observation)

    def decode(self, code: Tensor, camera: Camera) -> FaceState:
        """Decode codes to meshes and to one texture for each camera.

        Args:
            code: (B, D).
            camera: Cameras with leading axes (B, N), head frame → camera.

        Returns:
            vertices (B, V, 3) in millimetres, texture (B, N, 3, T, T) in [0, 1] (not clamped).
        """
        return self.template.restore(self.decoder(code, camera.view_direction))

    def geometry(self, code: Tensor) -> Tensor:
        """Decode codes (B, D) to vertices (B, V, 3) in millimetres, without the texture."""
        return self.template.restore(FaceState(self.decoder.geometry(code))).vertices

    def render(self, face: FaceState, camera: Camera, background: Tensor | None = None) -> Rendering:
        """Draw decoded faces as their cameras see them.

        Args:
            face: vertices (B, V, 3) millimetres, texture (B, N, 3, T, T).
            camera: Cameras with leading axes (B, N).
            background: (B·N or 1, 3, H, W); black if None.

        Returns:
            Renderings of B·N pictures, ordered sample by sample.
        """
        views = camera.extrinsics.shape[1]
        vertices = repeat(face.vertices, "b v xyz -> (b n) v xyz", n=views)
        texture = rearrange(face.texture, "b n c h w -> (b n) c h w")
        return self.renderer(vertices, texture, self.template.topology, camera.flatten(), background)


@contextmanager
def frozen(model: nn.Module) -> Iterator[None]:
    """Put a model in evaluation mode, without gradients to its parameters and folded, and restore all three on exit.

    Within another `frozen` block, what that block folded stays folded.

    Nobody may change its weights meanwhile: modules that are `Foldable` have computed what depends on them.
    """
    modes = {module: module.training for module in model.modules()}
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    model.eval()
    for parameter in learning:
        parameter.requires_grad_(False)
    foldable = [module for module in modes if isinstance(module, Foldable) and not module.frozen]
    try:
        for module in foldable:
            module.fold()
            module.frozen = True
        yield
    finally:
        for module in foldable:
            module.unfold()
            module.frozen = False
        for parameter in learning:
            parameter.requires_grad_(True)
        for module, mode in modes.items():
            module.training = mode
