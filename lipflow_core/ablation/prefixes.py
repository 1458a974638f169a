"""The spec of the first stages of a training, without all that these stages do not use.

DAM and the first stage of DAM-Reg. thus have the same spec, and are trained once. Imports no torch, but for
`has_weights`.
"""

from __future__ import annotations

import json
from typing import Any

from lipflow_core.errors import SpecError
from lipflow_core.model_lock import parts_of
from lipflow_core.parts import Part, SameAs
from lipflow_core.planning import Blueprint, PlannedPart, plan
from lipflow_core.registry import Registry
from lipflow_core.specs import Spec, load_spec

TRAINED = "trained"
"""Name of the system in the model directories of cells: several systems may share one."""
_weightless: dict[str, bool] = {}


def prefix_of(blueprint: Blueprint, stages: int, registry: Registry, device: str) -> Blueprint:
    """Plan the spec of the first stages of a training.

    Its model has the same initial weights as the whole spec's, part by part, and its stages are trained to the same
    bits. Parts that no stage up to here uses are left out, unless fitting uses them and all stages are there.

    Args:
        blueprint: Plan of the whole spec.
        stages: Number of stages, at least 1.
        registry: Registry that the components come from.
        device: Device type to train on.
    """
    priors = [_prior_of(blueprint, number) for number in range(stages)]
    # The slot of a prior decides its initial weights. One without weights may move to the main slot.
    alike = all(prior.part == priors[0].part for prior in priors) and not has_weights(priors[0])
    if alike and stages < len(blueprint.spec.training.stages):
        try:
            return _planned(blueprint, stages, registry, device, only=priors[0])
        except SpecError:  # an objective may need what was left out
            pass
    return _planned(blueprint, stages, registry, device, only=None)


def _planned(
    blueprint: Blueprint, stages: int, registry: Registry, device: str, *, only: PlannedPart | None
) -> Blueprint:
    """Plan the first stages; with `only`, a prior without weights, also without what this prior does not use."""
    spec = blueprint.spec
    data = spec.model_dump(mode="json")
    data |= {"name": TRAINED, "preset": "paper", "device": device}
    kept = data["training"]["stages"] = data["training"]["stages"][:stages]
    if only is not None:
        data["prior"], data["flow"], data["fitting"]["prior"] = only.part.as_data(), None, None
        if "driving" not in only.plan.needs and not isinstance(spec.encoder, SameAs):
            data["driving"] = None
    if data["fitting"]["prior"] == data["prior"]:
        data["fitting"]["prior"] = None
    for number, stage in enumerate(kept):
        stage["name"] = f"stage-{number}"
        own = _prior_of(blueprint, number)
        stage["prior"] = None if own.part.as_data() == data["prior"] else own.part.as_data()
        stage["train"] = [
            slot
            for slot in ("encoder", "driving", "prior", "decoder")
            if slot in stage["train"]
            and not (slot == "driving" and data["driving"] is None)
            and not (slot == "prior" and not has_weights(own))
        ] or stage["train"]
    return plan(load_spec(data, (), registry))


def training_key(blueprint: Blueprint) -> dict[str, Any]:
    """Give all of a planned prefix that its weights depend on, as JSON data: not how it will be used."""
    data = blueprint.spec.model_dump(mode="json", exclude={"name", "preset", "device", "capture", "evaluation"})
    data["fitting"] = {"prior": data["fitting"]["prior"]}
    del data["training"]["workers"]
    # With the weights that priors recommend, which the spec leaves open.
    for stage in data["training"]["stages"]:
        stage["objectives"] = [term.part.as_data() for term in blueprint.stage_objectives[stage["name"]]]
    return data


def has_weights(planned: PlannedPart) -> bool:
    """Tell whether a prior has parameters or buffers; True as well if it holds components of its own."""
    if planned.plan.parts:
        return True
    key = json.dumps([planned.part.as_data(), repr(planned.given)], sort_keys=True)
    if key not in _weightless:
        import torch

        try:
            with torch.random.fork_rng(devices=[]):
                _weightless[key] = not planned.build().state_dict()
        except Exception:  # of a plugin's making: its training tells
            _weightless[key] = False
    return not _weightless[key]


def _prior_of(blueprint: Blueprint, number: int) -> PlannedPart:
    stage = blueprint.spec.training.stages[number]
    return blueprint.prior if stage.prior is None else blueprint.stage_priors[stage.name]


def used_parts(spec: Spec) -> list[Part]:
    """List the components that a spec's model and capture consist of."""
    slots = [getattr(spec, slot) for slot in ("capture", "encoder", "driving", "prior", "flow", "decoder", "renderer")]
    slots.append(spec.fitting.prior)
    own = [part for part in slots if isinstance(part, Part)]
    return [*own, *(nested for part in own for nested in parts_of(part.config))]
