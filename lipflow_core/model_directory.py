"""Saves and opens model directories: `spec.yaml` (resolved), `weights.safetensors` and `lock.json` (versions, hashes).

Opening a model runs no code from its directory: components are looked up by name in the user's own registry, and
registry files in the directory are not read.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, NoReturn

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from lipflow_core.assembly import build, on_device, usable_devices
from lipflow_core.avatar import REGION, Avatar, template_of
from lipflow_core.errors import CompatibilityError, ModelError, PluginError, SpecError, StorageError
from lipflow_core.file_names import check_file_name
from lipflow_core.instances import given_parts, how_to_reopen, missing_parts, warning_of
from lipflow_core.model_lock import (
    FORMAT,
    LOCK,
    RUN,
    SPEC,
    WEIGHTS,
    Lock,
    LockedPart,
    make_lock,
    other_versions,
    read_lock,
)
from lipflow_core.planning import Blueprint, plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Template, Topology
from lipflow_core.registry import Registry, default_registry
from lipflow_core.registry.process_layer import DISTRIBUTION
from lipflow_core.specs import Spec, dump_spec, load_spec
from lipflow_core.storage import check_folder, read_file, write_together
from lipflow_core.weights import load_weights, weights_of

_TEMPLATE = "template_buffers."
_TEMPLATE_NAMES = [
    f.name for record in (Topology, Template) for f in fields(record) if f.name not in ("topology", "regions")
]
_TRAINING = ("training", "seed", "name", "preset", "version")
"""Blocks and options of a spec that only training uses."""
_FREE = ("fitting", "evaluation", "capture", "renderer", "device", "seed", "name", "training")
"""Blocks of a spec that do not shape the weights."""


class ModelWarning(UserWarning):
    """A model was made with other versions of its plugins, or has parts that its spec does not name."""


@dataclass(frozen=True)
class OpenedModel:
    """An opened model. It unpacks to its first two fields: `avatar, spec = open_model(directory)`.

    Args:
        avatar: The model, in evaluation mode.
        spec: Spec of the model, with the overrides.
        blueprint: Plan that the model was built from.
        lock: Content of its `lock.json`.
    """

    avatar: Avatar
    spec: Spec
    blueprint: Blueprint
    lock: Lock

    def __iter__(self) -> Iterator[Any]:
        return iter((self.avatar, self.spec))


def save_model(avatar: Avatar, spec: Spec, directory: str | os.PathLike[str], registry: Registry | None = None) -> Path:
    """Write a model into a folder, completely or not at all.

    A model that is there is replaced; other files are left alone.

    Args:
        avatar: Model to save, on any device.
        spec: Spec that the model was assembled from.
        directory: Folder to write to.
        registry: Registry that versions are looked up in; the default registry if None.

    Returns:
        The directory.

    Raises:
        lipflow_core.errors.StorageError: If it can't be written, or if it would overwrite a training run's model or
            files that belong to no model.

    Warns:
        ModelWarning: If a component was given as an object that the spec does not name.
    """
    path = Path(directory)
    check_place(path)
    if (warning := warning_of(avatar, spec)) is not None:
        warnings.warn(warning, ModelWarning, stacklevel=2)
    write_model(avatar, spec, path, registry)
    return path


def write_model(avatar: Avatar, spec: Spec, path: Path, registry: Registry | None = None) -> None:
    """Write a model without checking what the folder holds; otherwise like `save_model`."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in weights_of(avatar).items()}
    content = {
        SPEC: dump_spec(spec).encode(),
        WEIGHTS: safetensors.torch.save(weights, {"format": "pt"}),
    }
    capture = avatar.capture or spec.capture.plan(CaptureInputs())
    given = given_parts(avatar, spec)
    lock = make_lock(spec, capture, torch.__version__, content, registry or default_registry(), given)
    content[LOCK] = (json.dumps(lock.model_dump(mode="json"), indent=2, ensure_ascii=False) + "\n").encode()
    write_together(path, content)


def open_model(
    directory: str | os.PathLike[str],
    device: str | torch.device | None = None,
    registry: Registry | None = None,
    overrides: Iterable[str] = (),
) -> OpenedModel:
    """Open a model directory; the capture that the model was trained on is not needed.

    Args:
        directory: Model directory to open.
        device: Device to put the model on; the spec's `device` if None.
        registry: Registry that components are looked up in; the default registry if None.
        overrides: Changes to the spec, such as "fitting.steps=50". Options that shape the weights can't be changed.

    Returns:
        The model in evaluation mode, and its spec.

    Raises:
        lipflow_core.errors.ModelError: If a file is missing, damaged or edited, or the weights do not fit the spec.
        lipflow_core.errors.SpecError: If an override is invalid, or makes the weights not fit.
        lipflow_core.errors.PluginError: If a plugin that the model needs is missing, naming its distribution.

    Warns:
        ModelWarning: If plugins have other versions than the model was made with.
    """
    path = Path(directory)
    registry = registry or default_registry()
    overrides = [overrides] if isinstance(overrides, str) else list(overrides)
    _check_effect(overrides)
    lock = read_lock(path)
    _check_hashes(path, lock)
    spec = _load_spec(path, lock, registry, overrides)
    for slot, name, part in missing_parts(lock.given, spec):
        raise ModelError(
            f"{path}: the {slot} of this model was a {name}, given as an object; its spec names '{part.name}'",
            how_to_reopen(slot, name),
        )
    weights = _read_weights(path / WEIGHTS)
    template = _template(weights, path)
    _check_shapes(template, lock, path)
    # A missing device is no fault of the model, but parts that no longer fit together are.
    placed = on_device(spec, device)
    try:
        blueprint = plan(placed, devices=usable_devices(), capture=lock.capture)
        avatar = build(blueprint, template, "cpu")
    except CompatibilityError as error:
        if overrides and _works_without_overrides(path, registry, lock):
            raise
        raise ModelError(
            f"{path}: the parts of its spec no longer fit together: {error.message}", error.hint
        ) from error
    stored = {tensor.dtype for tensor in weights.values() if tensor.is_floating_point()}
    if narrow := stored - {torch.float32, torch.float64}:
        raise ModelError(
            f"{path / WEIGHTS}: its weights are of type {narrow.pop()}; models run in float32 or float64",
            "Convert the weights and save the model again with save_model.",
        )
    if len(stored) == 1:
        avatar.to(dtype=stored.pop())  # a model trained in float64 stays in float64
    try:
        load_weights(avatar, weights, str(path / WEIGHTS))
    except ModelError as error:
        if not overrides:
            raise
        raise _shaped_otherwise(path, overrides) from error
    for line in other_versions(lock, spec, registry):
        warnings.warn(f"{path}: {line}", ModelWarning, stacklevel=2)
    wanted = blueprint.device if device in (None, "auto") else device
    return OpenedModel(avatar.to(wanted).eval(), spec, blueprint, lock)


class EditedModelError(ModelError):
    """The spec of a model was edited after it was saved; this may be a user's work and not damage."""


def check_model(directory: str | os.PathLike[str]) -> None:
    """Check that the files of a model are unchanged since it was saved, without building it.

    Raises:
        EditedModelError: If the spec was edited.
        lipflow_core.errors.ModelError: If a file is missing or damaged.
    """
    _check_hashes(Path(directory), read_lock(Path(directory)))


def check_place(directory: str | os.PathLike[str]) -> None:
    """Raise a StorageError if a model can't be written to a folder; call it before the work that it would lose."""
    path = Path(directory)
    check_file_name(path / RUN, StorageError)
    if (path / RUN).exists():
        raise StorageError(f"{path}: holds a training run, whose model would be lost", "Choose another folder.")
    taken = [name for name in (SPEC, WEIGHTS, LOCK) if (path / name).exists()]
    if taken and not _is_model(path):
        raise StorageError(
            f"{path}: holds {' and '.join(taken)}, but no model that may be replaced", "Choose another folder."
        )
    check_folder(path)


def _is_model(directory: Path) -> bool:
    try:
        return json.loads(read_file(directory / LOCK)).get("format") == FORMAT
    except (OSError, ValueError, AttributeError, RecursionError):
        return False


def _check_hashes(path: Path, lock: Lock) -> None:
    for name in (SPEC, WEIGHTS):
        try:
            with (path / name).open("rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise ModelError(f"{path / name}: can't be read: {error.strerror}") from error
        if found == lock.sha256.get(name):
            continue
        if name == SPEC:
            raise EditedModelError(
                f"{path / name}: was edited after the model was saved, so that it may no longer describe the weights",
                "Undo the edit; give options of fitting and evaluation as overrides instead.",
            )
        _read_weights(path / name)  # raises an error that says what is damaged
        raise ModelError(f"{path / name}: does not have the hash that {LOCK} lists", "Copy the model again.")


def _load_spec(path: Path, lock: Lock, registry: Registry, overrides: Iterable[str]) -> Spec:
    try:
        return load_spec(path / SPEC, overrides, registry)
    except (SpecError, PluginError) as error:
        absent = [part for part in lock.parts if not any(c.name == part.name for c in registry.components(part.kind))]
        if absent:
            made_by = ", ".join(f"{part.kind} '{part.name}' of {part.distribution} {part.version}" for part in absent)
            raise PluginError(f"{path}: this model needs {made_by}\n{error.message}", _cure(absent)) from error
        if isinstance(error, PluginError):
            raise
        if overrides and _works_without_overrides(path, registry):
            raise
        raise ModelError(f"{path}: its spec can't be used: {error.message}", error.hint) from error


def _check_effect(overrides: Sequence[str]) -> None:
    """Refuse overrides that change nothing in a trained model."""
    for text in overrides:
        block = text.partition("=")[0].strip().partition(".")[0]
        if block in _TRAINING:
            raise SpecError(
                f"override '{text}' would have no effect: the model is trained, and only training uses '{block}'",
                "Give it to `lipflow-core train`, or leave it out.",
            )


def _works_without_overrides(path: Path, registry: Registry, lock: Lock | None = None) -> bool:
    """Tell whether the model's own spec loads and, given its lock, can be planned."""
    try:
        spec = load_spec(path / SPEC, (), registry)
        if lock is not None:
            plan(spec, capture=lock.capture)
    except (SpecError, PluginError):
        return False
    return True


def _shaped_otherwise(path: Path, overrides: list[str]) -> SpecError:
    """Make the error for overrides that change the shapes of the weights."""
    blamed = [text for text in overrides if text.partition("=")[0].strip().partition(".")[0] not in _FREE] or overrides
    return SpecError(
        f"override {', '.join(map(repr, blamed))}: the trained weights of {path} do not fit this change",
        "Only options of fitting, evaluation, capture and renderer can be changed for trained weights; "
        "to change others, train a new model with them.",
    )


def _cure(absent: list[LockedPart]) -> str:
    # A plugin given by path is not published: a package index may have a stranger's upload of the same name.
    for part in absent:
        if part.distribution == DISTRIBUTION:
            return (
                f'Call lipflow_core.register("{part.kind}", "{part.name}", CLASS) in this process first; it was '
                f"{part.version}. A command needs it as a plugin: see docs/plugins.md."
            )
    local = sorted({part.distribution for part in absent if part.version.startswith("sha256:")})
    if local:
        return f"Add the files of {', '.join(local)} to your project's registry.toml; the version is their hash."
    others = sorted({part.distribution for part in absent} - {"lipflow-core"})
    if others:
        return f"Install the missing plugins and open the model again; if public: `pip install {' '.join(others)}`."
    return "Enable its plugin, or upgrade lipflow-core; `lipflow-core plugins list` shows disabled and broken ones."


def _read_weights(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as reader:
            return {name: reader.get_tensor(name) for name in reader.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise ModelError(
            f"{file}: is truncated or not a safetensors file: {error}", "Copy the model again, or train it again."
        ) from error


def _template(weights: Mapping[str, Tensor], path: Path) -> Template:
    try:
        held = {name: weights[_TEMPLATE + name] for name in _TEMPLATE_NAMES}
    except KeyError as error:
        raise ModelError(
            f"{path / WEIGHTS}: is not the weights file of a lipflow-core model: it lacks {error.args[0]}"
        ) from error
    _check_mesh(held, path)
    regions = {name.removeprefix(_TEMPLATE): t for name, t in weights.items() if name.startswith(_TEMPLATE + REGION)}
    template = template_of(held | regions)
    for name, region in template.regions.items():
        if region.shape != template.vertices_mean.shape[:1] or not ((region >= 0) & (region <= 1)).all():
            raise ModelError(
                f"{path / WEIGHTS}: is damaged: its region '{name}' has no weight from 0 to 1 for each vertex",
                "Copy the model again, or train it again.",
            )
    return template


def _check_mesh(held: Mapping[str, Tensor], path: Path) -> None:
    """Raise a ModelError if a renderer or an objective would read outside the template's tensors, or draw NaN."""

    def refuse(reason: str) -> NoReturn:
        raise ModelError(
            f"{path / WEIGHTS}: is damaged: {_TEMPLATE}{reason}", "Copy the model again, or train it again."
        )

    for name, columns in (("vertices_mean", 3), ("triangles", 3), ("uv", 2), ("uv_triangles", 3)):
        if held[name].ndim != 2 or held[name].shape[1] != columns:
            refuse(f"{name} has shape {tuple(held[name].shape)}, not (n, {columns})")
    for name, tensor in held.items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            refuse(f"{name} holds NaN or infinity")
    vertices = len(held["vertices_mean"])
    limits = {"triangles": vertices, "uv_triangles": len(held["uv"]), "landmarks": vertices}
    for name, limit in limits.items():
        indices = held[name]
        if indices.is_floating_point() or indices.is_complex():
            refuse(f"{name} has dtype {indices.dtype}, which can't be indices")
        if indices.numel() and (indices.min() < 0 or indices.max() >= limit):
            refuse(f"{name} has indices outside 0 … {limit - 1}")
    if held["triangles"].shape != held["uv_triangles"].shape:
        refuse("triangles and uv_triangles differ in number")


def _check_shapes(template: Template, lock: Lock, path: Path) -> None:
    """Raise a ModelError if the lock's shapes differ from the weights: a tiny file must not request huge memory."""
    held = {
        f"{lock.roles.surface}.vertices": template.vertices_mean,
        f"{lock.roles.surface}.texture": template.texture_mean,
        "topology.triangles": template.topology.triangles,
    }
    for name, tensor in held.items():
        if name in lock.shapes and lock.shapes[name] != tuple(tensor.shape):
            raise ModelError(
                f"{path / LOCK}: is damaged: shapes.{name} is {lock.shapes[name]}, but the weights have "
                f"{tuple(tensor.shape)}",
                "Copy the model again.",
            )
