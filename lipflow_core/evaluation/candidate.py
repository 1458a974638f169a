"""Opens models for evaluation, from a folder or as they were assembled in this process."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from safetensors.torch import save

from lipflow_core.assembly import on_device
from lipflow_core.avatar import SLOTS, Avatar
from lipflow_core.errors import SpecError
from lipflow_core.evaluation.result import is_folder_name
from lipflow_core.model_directory import OpenedModel, open_model
from lipflow_core.planning import Blueprint, plan
from lipflow_core.plans import Plan
from lipflow_core.specs import Spec, load_spec
from lipflow_core.weights import weights_of

Model = str | os.PathLike[str] | OpenedModel | tuple[Avatar, Spec]
"""Model as `evaluate` takes it: a model directory, the result of `open_model`, or an avatar with its spec."""
_CHANGEABLE = ("fitting", "evaluation", "capture")
"""Blocks of a spec that overrides can change for an avatar, whose parts are already built."""


@dataclass(frozen=True)
class Candidate:
    """Holds a model to evaluate.

    Args:
        avatar: Assembled model.
        spec: Spec of the model, with the overrides.
        blueprint: Plan of the spec.
        weights: Hash of the weights.
        path: Model directory; None if the model was given as an avatar.
        overrides: Options of the spec that the evaluation changes.
    """

    avatar: Avatar
    spec: Spec
    blueprint: Blueprint
    weights: str
    path: Path | None
    overrides: tuple[str, ...]

    @classmethod
    def of(cls, model: Model, overrides: Sequence[str]) -> Candidate:
        """Open a model's folder, or take an avatar with its spec.

        Raises:
            lipflow_core.errors.ModelError: If the folder holds no model, or an override makes its weights not fit.
            lipflow_core.errors.SpecError: If an override can't be used.
            TypeError: If an avatar comes without its spec.
        """
        if isinstance(model, str | os.PathLike):
            opened = open_model(model, overrides=overrides)
            weights = opened.lock.sha256["weights.safetensors"]
            return cls(opened.avatar, opened.spec, opened.blueprint, weights, Path(model), tuple(overrides))
        avatar, spec = _pair(model)
        spec = _overridden(spec, overrides)
        blueprint = plan(on_device(spec, avatar.device), capture=avatar.capture, given=_plans(avatar, spec))
        return cls(avatar, spec, blueprint, _hash(avatar), None, tuple(overrides))

    @property
    def parts(self) -> dict[str, object]:
        """Class and options of the model's components, by slot."""
        slots = ["fitting_prior" if slot == "prior" else slot for slot in SLOTS]
        modules = {slot: getattr(self.avatar, slot) for slot in slots}
        return {
            slot: [f"{type(module).__module__}.{type(module).__qualname__}", module.config.model_dump(mode="json")]
            for slot, module in modules.items()
            if module is not None
        }


def candidates(models: Model | Iterable[Model], overrides: Sequence[str]) -> list[Candidate]:
    """Open all models; a single model may be given without a list."""
    single = isinstance(models, str | os.PathLike | OpenedModel | Avatar) or _is_pair(models)
    return [Candidate.of(model, overrides) for model in ([models] if single else models)]


def names_of(found: Sequence[Candidate], taken: Collection[str] = ()) -> list[str]:
    """Name models for tables and folders: by system, by folder, or else by system and number.

    Args:
        found: The models.
        taken: Names of files that stand beside the models' folders.

    Returns:
        The first of the three choices whose names are unique and can all be names of folders.
    """
    systems = [candidate.spec.name for candidate in found]
    folders = [candidate.spec.name if candidate.path is None else candidate.path.resolve().name for candidate in found]
    for names in (systems, folders):
        if len(set(names)) == len(names) and all(map(is_folder_name, names)) and not {*names} & {*taken}:
            return names
    return [f"{system}-{i + 1}" for i, system in enumerate(systems)]


def _is_pair(model: object) -> bool:
    return isinstance(model, tuple) and len(model) == 2 and isinstance(model[0], Avatar) and isinstance(model[1], Spec)


def _pair(model: object) -> tuple[Avatar, Spec]:
    if isinstance(model, OpenedModel):
        return model.avatar, model.spec
    if _is_pair(model):
        return model
    raise TypeError(
        f"evaluate() takes model directories, opened models and pairs (avatar, spec), got {type(model).__name__}"
    )


def _overridden(spec: Spec, overrides: Sequence[str]) -> Spec:
    if not overrides:
        return spec
    changed = load_spec(spec.model_dump(mode="json"), overrides)
    for name in type(spec).model_fields:
        same = getattr(spec, name) == getattr(changed, name)
        if name == "fitting":
            same, name = spec.fitting.prior == changed.fitting.prior, "fitting.prior"
        if not same and name not in _CHANGEABLE:
            raise SpecError(
                f"'{name}' can't be changed of an avatar, whose parts are built already",
                f"Override options of {', '.join(_CHANGEABLE)}, or change the spec before the model is assembled.",
            )
    return changed


def _plans(avatar: Avatar, spec: Spec) -> dict[str, Plan]:
    """Collect the plans of the avatar's components by slot."""
    slots = [slot for slot in SLOTS if slot != "encoder" or avatar.encoder is not avatar.driving]
    found = {slot: part.planned for slot in slots if (part := avatar.part(slot)) is not None}
    for index, stage in enumerate(spec.training.stages):
        if stage.prior is not None:
            found[f"training.stages.{index}.prior"] = avatar.prior_of(stage.name).planned
    if spec.fitting.prior is not None:
        found["fitting.prior"] = avatar.fitting_prior.planned
    return found


def _hash(avatar: Avatar) -> str:
    """Hash the weights as `save_model` writes them, so that a model has one hash in a folder and in memory."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in weights_of(avatar).items()}
    return hashlib.sha256(save(weights, {"format": "pt"})).hexdigest()
