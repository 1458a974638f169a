"""What training minimises, and what of the model a stage has to run for it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor, nn

from lipflow_core.avatar import Avatar
from lipflow_core.config import Ramp
from lipflow_core.densities import bounded_log_std
from lipflow_core.errors import SpecError
from lipflow_core.interfaces import LatentPrior
from lipflow_core.records import Encoding, FaceState, Frame
from lipflow_core.specs.model import Stage


@dataclass(frozen=True)
class Needs:
    """What a stage runs and loads; the rest is left alone.

    Args:
        terms: Names of the objective's terms with a weight, of "image", "geometry", "latent".
        encoders: Names of the encoders that run, of "encoder" and "driving"; the first alone if both are one.
        driving: Whether the driving encoder runs.
        observations: Names of the observations loaded for each frame.
    """

    terms: tuple[str, ...]
    encoders: tuple[str, ...]
    driving: bool
    observations: tuple[str, ...]


def needs_of(avatar: Avatar, stage: Stage) -> Needs:
    """Work out what a stage needs.

    The reconstruction terms are left out where their weight is 0 and where neither encoder nor decoder learns: they
    would be constants.
    """
    reconstructs = any(avatar.part(name) is part for name in stage.train for part in (avatar.encoder, avatar.decoder))
    terms = []
    if stage.weights.image > 0 and reconstructs:
        terms.append("image")
    if stage.weights.geometry > 0 and reconstructs:
        terms.append("geometry")
    if any(weight > 0 for weight in _latent_range(stage)):
        terms.append("latent")
    if not terms:
        raise SpecError(
            f"stage '{stage.name}' has nothing to learn from: no weighted term reaches {', '.join(stage.train)}",
            "give 'weights' a value above 0 that depends on what 'train' names",
        )
    driving = "latent" in terms and "driving" in avatar.prior_of(stage.name).planned.needs
    observations = {avatar.encoder.modality}
    if driving:
        observations.add(avatar.driving.modality)
    if "geometry" in terms:
        observations.add("face")
    if "image" in terms:
        observations.add("dome")
    encoders = ("encoder", "driving") if driving and avatar.encoder is not avatar.driving else ("encoder",)
    return Needs(tuple(terms), encoders, driving, tuple(sorted(observations)))


def latent_weight(stage: Stage, step: int) -> float:
    """λ_L at a step of the stage."""
    weight = stage.weights.latent
    return weight.at(step) if isinstance(weight, Ramp) else weight


def final_latent_weight(stage: Stage) -> float:
    """λ_L at the end of any ramp: that of the held-out loss, so that its values can be compared."""
    return _latent_range(stage)[-1]


def _latent_range(stage: Stage) -> tuple[float, ...]:
    weight = stage.weights.latent
    return (weight.start, weight.end) if isinstance(weight, Ramp) else (weight,)


class Batch:
    """What the objective takes of one step; a plain class, since Fabric would take a dataclass apart.

    Args:
        frame: The captured frames, B of them.
        driving: The same as the driving encoder sees them, changed by augmentation.
        noise: (B, D) standard normal, for the sample of Q; None to use Q's mean.
    """

    def __init__(self, frame: Frame, driving: Frame, noise: Tensor | None):
        self.frame = frame
        self.driving = driving
        self.noise = noise

    def __len__(self) -> int:
        return len(self.frame)

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """The batch on a device, its real numbers of one type."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype if tensor.is_floating_point() else None, non_blocking=True)

        frame = self.frame.apply(move)
        driving = frame if self.driving is self.frame else self.driving.apply(move)
        return Batch(frame, driving, None if self.noise is None else move(self.noise))

    def pinned(self) -> Batch:
        """The batch in page-locked memory, from which copies to a GPU need not be waited for."""
        frame = self.frame.apply(Tensor.pin_memory)
        driving = frame if self.driving is self.frame else self.driving.apply(Tensor.pin_memory)
        return Batch(frame, driving, None if self.noise is None else self.noise.pin_memory())


class Objective(nn.Module):
    """L = λ_I ‖(Î − I) ⊙ W‖² + λ_G ‖M̂ − M‖² + λ_L L_L, averaged over frames and views (paper, supplement H.1).

    The image term is the mean over the pixels and channels that W shows, of errors in units of `image_scale`; the
    geometry term is the mean over standardised coordinates; L_L is the prior's divergence, a mean over the code's
    dimensions. The code is one sample of Q, or Q's mean where a batch brings no noise.

    Args:
        avatar: The model.
        stage: The stage: its name chooses the prior, its weights weigh the terms.
        image_scale: `training.image_scale` of the spec.
    """

    def __init__(self, avatar: Avatar, stage: Stage, image_scale: float):
        super().__init__()
        self.avatar = avatar
        self.stage = stage
        self.image_scale = image_scale
        self.needs = needs_of(avatar, stage)
        self._encoder_learns = any(parameter.requires_grad for parameter in avatar.encoder.parameters())
        self._driving_learns = avatar.driving is not None and any(p.requires_grad for p in avatar.driving.parameters())

    @property
    def prior(self) -> LatentPrior:
        """The prior of this stage."""
        return self.avatar.prior_of(self.stage.name)

    def encode(self, batch: Batch) -> tuple[Encoding, Encoding | None]:
        """Q's posterior and, if the stage needs it, P's encoding, in full precision."""
        avatar = self.avatar
        dtype = avatar.template_buffers.vertices_mean.dtype
        shared = avatar.encoder is avatar.driving
        with torch.set_grad_enabled(torch.is_grad_enabled() and self._encoder_learns):
            posterior = avatar.encode(batch.driving if shared else batch.frame)
        driving = None
        if self.needs.driving and shared:
            driving = posterior
        elif self.needs.driving:
            with torch.set_grad_enabled(torch.is_grad_enabled() and self._driving_learns):
                driving = avatar.drive(batch.driving)
        return _full(posterior, dtype), _full(driving, dtype)

    def sample(self, posterior: Encoding, noise: Tensor | None) -> Tensor:
        """z = μ^q + σ^q ⊙ ε, (B, D), with the same bounded σ^q as the priors' divergences."""
        return posterior.mean if noise is None else posterior.mean + bounded_log_std(posterior.log_std).exp() * noise

    def forward(self, batch: Batch, latent: float) -> tuple[Tensor, Tensor, Tensor]:
        """The objective.

        Args:
            batch: On the model's device.
            latent: λ_L.

        Returns:
            The loss (); without gradients, its terms without weights (k,), in the order of `needs.terms`, and the
            largest log σ that each of `needs.encoders` predicts (e,), P's in size.
        """
        posterior, driving = self.encode(batch)
        code = self.sample(posterior, batch.noise)
        terms = self._reconstruction(code, batch.frame)
        if "latent" in self.needs.terms:
            # Log-determinants and likelihoods are too delicate for half precision, and cheap.
            with torch.autocast(code.device.type, enabled=False):
                terms["latent"] = self.prior.divergence(posterior, code, driving).mean()
        weights = {"image": self.stage.weights.image, "geometry": self.stage.weights.geometry, "latent": latent}
        loss = sum(weights[name] * term for name, term in terms.items())
        # A Q whose spread collapses is all but a point, which does no harm; a P that does is sure of one code.
        predicted = (posterior.log_std, None if driving is None else driving.log_std.abs())
        largest = torch.stack([_largest(log_std.detach()) for log_std in predicted[: len(self.needs.encoders)]])
        return loss, torch.stack([terms[name].detach() for name in self.needs.terms]), largest

    def _reconstruction(self, code: Tensor, frame: Frame) -> dict[str, Tensor]:
        terms: dict[str, Tensor] = {}
        template = self.avatar.template
        if "image" in self.needs.terms:
            views = frame["dome"]
            decoded = self.avatar.decoder(code, views.camera.view_direction)
            decoded = FaceState(decoded.vertices.to(code.dtype), decoded.texture.to(code.dtype))
            with torch.autocast(code.device.type, enabled=False):
                rendering = self.avatar.render(template.restore(decoded), views.camera)
                mask = rearrange(views.mask, "b n h w -> (b n) 1 h w")
                error = (rendering.image - rearrange(views.images, "b n c h w -> (b n) c h w")) * mask
                visible = mask.square().sum((1, 2, 3)).mul(error.shape[1]).clamp(min=1)
                terms["image"] = (error.square().sum((1, 2, 3)) / visible).mean() / self.image_scale**2
            vertices = decoded.vertices
        elif "geometry" in self.needs.terms:
            vertices = self.avatar.decoder.geometry(code).to(code.dtype)
        if "geometry" in self.needs.terms:
            wanted = template.standardize(FaceState(frame["face"].vertices)).vertices
            terms["geometry"] = (vertices - wanted).square().mean()
        return terms


def _largest(values: Tensor) -> Tensor:
    """Largest value; 0 of none."""
    return values.amax() if values.numel() else values.new_zeros(())


def _full(encoding: Encoding | None, dtype: torch.dtype) -> Encoding | None:
    return None if encoding is None else encoding.apply(lambda tensor: tensor.to(dtype))
