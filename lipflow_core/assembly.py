"""Builds a model from a spec."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from lipflow_core.avatar import SLOTS, Avatar
from lipflow_core.errors import CompatibilityError, PluginError, SpecError
from lipflow_core.planning import Blueprint, PlannedPart, plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Template, Topology
from lipflow_core.specs import Spec, load_spec


def assemble(
    spec: Spec | str | os.PathLike[str],
    *,
    template: Template | None = None,
    device: str | torch.device | None = None,
    **instances: nn.Module,
) -> Avatar:
    """Build the model that a spec describes, its weights initialised from the spec's seed.

    Args:
        spec: A spec, its file, or the name of a shipped one.
        template: Template of the subject; if None, that of the capture, which may have to be made first.
        device: Device to put the model on; the spec's `device` if None.
        **instances: Components built elsewhere, by slot ("encoder", "driving", "prior", "decoder", "renderer"). Each
            replaces the component that the spec names.

    Raises:
        lipflow_core.errors.CompatibilityError: If parts do not fit together, or the device does not exist.

    Example:
        >>> avatar = assemble(load_spec("lip-flow-hmc", ["preset=tiny"]))
    """
    if not isinstance(spec, Spec):
        spec = load_spec(spec)
    _check_instances(spec, instances)
    given = {slot: instance.planned for slot, instance in instances.items()}
    blueprint = plan(on_device(spec, device), devices=usable_devices(), given=given)
    if template is None:
        template = spec.capture.build(CaptureInputs()).template()
    return build(blueprint, template, device, **instances)


def build(
    blueprint: Blueprint, template: Template, device: str | torch.device | None = None, **instances: nn.Module
) -> Avatar:
    """Build the model that was planned.

    Args:
        blueprint: Plan of the model.
        template: Template of the subject.
        device: Device to put the model on; the blueprint's device type if None.
        **instances: Components built elsewhere, by slot, as in `assemble`.
    """
    _check_template(blueprint, template)
    built: dict[int, nn.Module] = {}

    def component(planned: PlannedPart, slot: str | None = None) -> Any:
        if slot in instances:
            built[id(planned)] = instances[slot]
        if id(planned) not in built:
            built[id(planned)] = _seeded_build(planned, blueprint.spec.seed)
        return built[id(planned)]

    # P before Q: if the two are shared, the built part is P's.
    driving = None if blueprint.driving is None else component(blueprint.driving, "driving")
    avatar = Avatar(
        encoder=component(blueprint.encoder, "encoder"),
        driving=driving,
        prior=component(blueprint.prior, "prior"),
        stage_priors={name: component(planned) for name, planned in blueprint.stage_priors.items()},
        fitting_prior=component(blueprint.fitting_prior),
        decoder=component(blueprint.decoder, "decoder"),
        renderer=component(blueprint.renderer, "renderer"),
        template=template,
        capture=blueprint.capture,
    )
    wanted = blueprint.device if device in (None, "auto") else device
    return avatar.to(wanted)


def _seeded_build(planned: PlannedPart, seed: int) -> nn.Module:
    """Build a part with a seed of its slot, so that another part in one slot leaves the initial weights of the rest."""
    digest = hashlib.sha256(f"{seed}/{planned.slot}".encode()).digest()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int.from_bytes(digest[:7], "big"))
        try:
            module = planned.build()
        except (MemoryError, RuntimeError) as error:
            if isinstance(error, RuntimeError) and "allocate memory" not in str(error):
                raise
            raise SpecError(f"{planned} needs more memory than there is", "Choose smaller sizes.") from error
    expected = SLOTS[planned.part.kind]
    if not isinstance(module, expected):
        raise PluginError(
            f"{planned} of {planned.part.distribution}: {planned.part.component.implementation} is a "
            f"{type(module).__name__}, not a {expected.__name__}",
            "This is a bug in the plugin; `lipflow-core plugins check` may tell more.",
        )
    return module


def usable_devices() -> tuple[str, ...]:
    """List the device types of this machine, fastest first; `device: auto` chooses from them."""
    return ("cuda", "cpu") if torch.cuda.is_available() else ("cpu",)


def on_device(spec: Spec, device: str | torch.device | None) -> Spec:
    """Return the spec with another `device`, or the spec itself if None.

    Raises:
        lipflow_core.errors.CompatibilityError: If the device does not exist on this machine.
    """
    wanted = spec.device if device is None else str(device)
    try:
        kind = "auto" if wanted == "auto" else torch.device(wanted).type
    except RuntimeError as error:
        raise CompatibilityError(f"there is no device '{wanted}'", "Give cpu, cuda or cuda:N.") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise CompatibilityError(
            f"device '{wanted}' was requested, but torch {torch.__version__} sees no CUDA device",
            "Set device=cpu, or install a torch for your GPU and its driver.",
        )
    return spec if kind == spec.device else spec.model_copy(update={"device": kind})


def blank_template(blueprint: Blueprint) -> Template:
    """Make a template of zeros with the planned shapes, to inspect a model without making its capture."""
    surface = blueprint.observations[blueprint.roles.surface]
    vertices, _ = surface["vertices"]
    triangles = torch.zeros(blueprint.shapes.get("topology.triangles", (0, 3)), dtype=torch.int64)
    landmarks = torch.zeros(blueprint.shapes.get("template.landmarks", (0,)), dtype=torch.int64)
    return Template(
        topology=Topology(triangles, torch.zeros(vertices, 2), triangles.clone()),
        vertices_mean=torch.zeros(vertices, 3),
        vertices_scale=torch.ones(()),
        texture_mean=torch.zeros(surface["texture"]),
        texture_scale=torch.ones(()),
        landmarks=landmarks,
        regions={name: torch.zeros(vertices) for name in blueprint.regions},
    )


def _check_instances(spec: Spec, instances: Mapping[str, Any]) -> None:
    if "driving" in instances and spec.driving is None:
        raise CompatibilityError(
            "a driving encoder was given, but the spec's slot 'driving' is empty",
            "Name an encoder in that slot; the given one replaces it.",
        )
    for slot, instance in instances.items():
        if slot not in SLOTS:
            raise TypeError(f"assemble() has no slot '{slot}'; slots are {', '.join(SLOTS)}")
        if not isinstance(instance, SLOTS[slot]):
            raise TypeError(f"{slot}= must be a {SLOTS[slot].__name__}, got a {type(instance).__name__}")


def _check_template(blueprint: Blueprint, template: Template) -> None:
    surface = blueprint.observations[blueprint.roles.surface]
    for name, mean in (("vertices", template.vertices_mean), ("texture", template.texture_mean)):
        if tuple(mean.shape) != tuple(surface[name]):
            raise CompatibilityError(
                f"the template's {name} has shape {tuple(mean.shape)}, but the model was planned for {surface[name]}; "
                "give the template of the spec's capture"
            )
