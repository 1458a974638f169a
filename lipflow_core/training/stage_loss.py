"""The loss of a training stage: the weighted sum of its objectives, and the parts of the model that it runs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lipflow_core.avatar import Avatar
from lipflow_core.config import Ramp
from lipflow_core.densities import bounded_log_std
from lipflow_core.errors import SpecError
from lipflow_core.interfaces import LatentPrior, Objective, State
from lipflow_core.observing import cameras_of, observe, sound
from lipflow_core.plans import Needs
from lipflow_core.records import Encoding, Frame
from lipflow_core.specs.model import Stage
from lipflow_core.training.learning import parts_of


@dataclass(frozen=True)
class StageNeeds:
    """The parts of a model that a stage runs, and the observations that it loads.

    Args:
        objectives: Objectives with a weight and a gradient, by name.
        made: Needs of these objectives.
        encoders: Names of the encoders that run: "encoder", and "driving" if it is another module.
        driving: Whether the driving encoder's encoding is used.
        observations: Names of the observations loaded for each frame.
    """

    objectives: Mapping[str, Objective]
    made: Needs
    encoders: tuple[str, ...]
    driving: bool
    observations: tuple[str, ...]


def needs_of(avatar: Avatar, stage: Stage, objectives: Mapping[str, Objective]) -> StageNeeds:
    """Determine the needs of a stage.

    An objective is left out if its weight is always 0, or if no part that it depends on learns. All depend on
    the encoder, those that need the decoded face also on the decoder, and the divergence also on the prior and its
    driving encoder.

    Raises:
        lipflow_core.errors.SpecError: If no objective is left.
    """
    learns = {id(part) for part in parts_of(avatar, stage, stage.train)}

    def reached(objective: Objective) -> bool:
        needs = Needs.of([objective.planned])
        names = ["encoder", *(["decoder"] if needs.face else []), *(["driving", "prior"] if needs.divergence else [])]
        return any(id(part) in learns for part in parts_of(avatar, stage, names))

    kept = {name: o for name, o in objectives.items() if any(_range(o)) and reached(o)}
    if not kept:
        raise SpecError(
            f"stage '{stage.name}' has nothing to learn from: no objective with a weight above 0 depends on "
            f"{', '.join(stage.train)}",
            "give a weight to an objective that depends on these parts, or name other parts in 'train'",
        )
    made = Needs.of(objective.planned for objective in kept.values())
    driving = made.divergence and "driving" in avatar.prior_of(stage.name).planned.needs
    observations = {avatar.encoder.modality, *made.targets, *([avatar.driving.modality] if driving else [])}
    encoders = ("encoder", "driving") if driving and avatar.encoder is not avatar.driving else ("encoder",)
    return StageNeeds(kept, made, encoders, driving, tuple(sorted(observations)))


def weights_at(objectives: Mapping[str, Objective], step: int) -> dict[str, float]:
    """Return each objective's weight at a step of the stage."""
    return {name: objective.config.weight_at(step) for name, objective in objectives.items()}


def final_weights(objectives: Mapping[str, Objective]) -> dict[str, float]:
    """Return each objective's weight after its ramp; the held-out loss uses it, so that its values are comparable."""
    return {name: objective.config.final_weight for name, objective in objectives.items()}


def _range(objective: Objective) -> tuple[float, ...]:
    weight = objective.config.weight
    return (weight.start, weight.end) if isinstance(weight, Ramp) else (weight,)


class Batch:
    """The data of one step; a plain class, since Fabric would convert a dataclass field by field.

    Args:
        frame: B captured frames.
        driving: The same frames, with the driving observation augmented.
        noise: (B, D) standard normal noise for the sample of Q; None to use Q's mean.
    """

    def __init__(self, frame: Frame, driving: Frame, noise: Tensor | None):
        self.frame = frame
        self.driving = driving
        self.noise = noise

    def __len__(self) -> int:
        return len(self.frame)

    def to(self, device: torch.device, dtype: torch.dtype) -> Batch:
        """Move the batch to a device, and convert its floating-point tensors to a dtype."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, dtype if tensor.is_floating_point() else None, non_blocking=True)

        frame = self.frame.apply(move)
        driving = frame if self.driving is self.frame else self.driving.apply(move)
        return Batch(frame, driving, None if self.noise is None else move(self.noise))

    def pinned(self) -> Batch:
        """Copy the batch to page-locked memory, so that copies to a GPU are asynchronous."""
        frame = self.frame.apply(Tensor.pin_memory)
        driving = frame if self.driving is self.frame else self.driving.apply(Tensor.pin_memory)
        return Batch(frame, driving, None if self.noise is None else self.noise.pin_memory())


class StageLoss(nn.Module):
    """Computes the loss of a stage, L = Σ_k w_k L_k, averaged over frames (paper, supplement H.1).

    The code is one sample of Q, or Q's mean if a batch has no noise.

    Args:
        avatar: Model that is trained.
        stage: Stage of training; its name selects the prior.
        objectives: Objectives of the stage by name, built.
    """

    def __init__(self, avatar: Avatar, stage: Stage, objectives: Mapping[str, Objective]):
        super().__init__()
        self.avatar = avatar
        self.stage = stage
        self.needs = needs_of(avatar, stage, objectives)
        self.terms = nn.ModuleList(self.needs.objectives.values())
        self._encoder_learns = any(parameter.requires_grad for parameter in avatar.encoder.parameters())
        self._driving_learns = avatar.driving is not None and any(p.requires_grad for p in avatar.driving.parameters())

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the loss's terms."""
        return tuple(self.needs.objectives)

    @property
    def prior(self) -> LatentPrior:
        """Prior of this stage."""
        return self.avatar.prior_of(self.stage.name)

    def encode(self, batch: Batch) -> tuple[Encoding, Encoding | None]:
        """Encode a batch in full precision: Q's posterior and, if the stage needs it, P's encoding."""
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
        """Sample z = μ^q + σ^q ⊙ ε, (B, D), with the same bounded σ^q as the priors' divergences."""
        return posterior.mean if noise is None else posterior.mean + bounded_log_std(posterior.log_std).exp() * noise

    def forward(self, batch: Batch, weights: Mapping[str, float]) -> tuple[Tensor, Tensor, Tensor]:
        """Compute the loss.

        Args:
            batch: Batch on the model's device.
            weights: Weights of the objectives by name.

        Returns:
            The loss (); and, detached, its terms without weights (k,) in the order of `names`, and the largest log σ
            that each of `needs.encoders` predicts (e,), in absolute value for P.
        """
        posterior, driving = self.encode(batch)
        code = self.sample(posterior, batch.noise)
        made, template = self.needs.made, self.avatar.template
        cameras = cameras_of(batch.frame, made.targets)
        face, renderings = observe(self.avatar, template, code, made, cameras)
        # Log-determinants and likelihoods lose too much in half precision, and are cheap.
        with torch.autocast(code.device.type, enabled=False):
            divergence = self.prior.divergence(posterior, code, driving) if made.divergence else None
            state = State(
                code=code,
                template=template,
                face=face,
                renderings=renderings,
                cameras=cameras,
                posterior=posterior,
                divergence=divergence,
            )
            losses = sound([objective(state, batch.frame) for objective in self.terms], face)
            terms = [loss.mean() for loss in losses]
        loss = sum(weights[name] * term for name, term in zip(self.names, terms, strict=True))
        # A collapsed σ of Q does no harm: its samples are its mean. A collapsed σ of P makes the prior a point.
        predicted = (posterior.log_std, None if driving is None else driving.log_std.abs())
        largest = torch.stack([_largest(log_std.detach()) for log_std in predicted[: len(self.needs.encoders)]])
        return loss, torch.stack([term.detach() for term in terms]), largest


def _largest(values: Tensor) -> Tensor:
    """Return the largest value, or 0 for an empty tensor."""
    return values.amax() if values.numel() else values.new_zeros(())


def _full(encoding: Encoding | None, dtype: torch.dtype) -> Encoding | None:
    return None if encoding is None else encoding.apply(lambda tensor: tensor.to(dtype))
