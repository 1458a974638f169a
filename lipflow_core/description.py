"""Describes a model: its parts with shapes, numbers of parameters and compute, counted on the model itself."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lipflow_core.avatar import Avatar, frozen
from lipflow_core.interfaces import Flow
from lipflow_core.parts import Part
from lipflow_core.planning import Blueprint, PlannedPart
from lipflow_core.plans import Plan, Shape
from lipflow_core.records import Camera, Encoding, FaceState, Keypoints, Record, Views
from lipflow_core.registry import Registry, default_registry


@dataclass(frozen=True)
class Row:
    """One part of a model.

    Args:
        slot: Path of its slot in the spec.
        kind: Kind of the component, such as "encoder".
        component: Name of the component.
        plugin: Distribution that provides it.
        version: Version of that distribution.
        inputs: Input's name → shape of one sample.
        outputs: Output's name → shape of one sample.
        parameters: Number of parameters; a part nested in another is counted in both.
        macs: Multiply-accumulates of one sample; None for renderers and where they can't be counted.
        device: Device that the part is on.
    """

    slot: str
    kind: str
    component: str
    plugin: str
    version: str
    inputs: Mapping[str, Shape]
    outputs: Mapping[str, Shape]
    parameters: int
    macs: int | None
    device: str


def describe(avatar: Avatar, blueprint: Blueprint, registry: Registry | None = None) -> list[Row]:
    """Make a row for each part of a model, and one for the flow within each prior.

    Compute is counted at batch 1: an encoder encodes one observation, a prior takes the log-probability of one code as
    in training, a flow maps one code forward, a decoder decodes one face and one view.

    Args:
        avatar: Model to describe.
        blueprint: Plan that the model was built from.
        registry: Registry that versions are looked up in; the default registry if None.
    """
    if registry is None:
        registry = default_registry()
    rows = []
    device = avatar.device
    with frozen(avatar):
        encoding = _encoding(blueprint, device)
        code = torch.zeros(1, blueprint.spec.code, device=device)
        for planned, module in zip(blueprint.distinct(), _modules(avatar, blueprint), strict=True):
            rows.append(_row(planned, planned.plan, module, registry, _macs(_evaluation(planned, module, encoding))))
            flow = next((inner for inner in module.modules() if isinstance(inner, Flow)), None)
            if planned.part.kind == "prior" and flow is not None and planned.given.flow is not None:
                context = encoding.features if flow.given.context else None
                macs = _macs(lambda flow=flow, context=context: flow(code, context))
                nested = PlannedPart(f"{planned.slot}.flow", planned.given.flow, flow.given, flow.planned)
                rows.append(_row(nested, flow.planned, flow, registry, macs))
    return rows


def _modules(avatar: Avatar, blueprint: Blueprint) -> Iterator[nn.Module]:
    built = [
        (blueprint.encoder, avatar.encoder),
        (blueprint.driving, avatar.driving),
        (blueprint.prior, avatar.prior),
        *((planned, avatar.prior_of(stage)) for stage, planned in blueprint.stage_priors.items()),
        (blueprint.fitting_prior, avatar.fitting_prior),
        (blueprint.decoder, avatar.decoder),
        (blueprint.renderer, avatar.renderer),
    ]
    for planned in blueprint.distinct():
        yield next(module for other, module in built if other is planned)


def _row(planned: PlannedPart, plan: Plan, module: nn.Module, registry: Registry, macs: int | None) -> Row:
    part: Part = planned.part
    place = next((tensor.device for tensor in (*module.parameters(), *module.buffers())), None)
    return Row(
        slot=planned.slot,
        kind=part.kind,
        component=part.name,
        plugin=part.distribution,
        version=registry.version(part.component),
        inputs=dict(plan.inputs),
        outputs=dict(plan.outputs),
        parameters=sum(parameter.numel() for parameter in module.parameters()),
        macs=macs,
        device=str(place) if place is not None else "–",
    )


def _evaluation(planned: PlannedPart, module: nn.Module, encoding: Encoding) -> Callable[[], Any] | None:
    device, code = encoding.mean.device, torch.zeros_like(encoding.mean)
    if planned.part.kind == "encoder":
        observation = sample_observation(planned.given.observations, module.modality, device)
        return None if observation is None else lambda: module(observation)
    if planned.part.kind == "prior":
        driving = encoding if "driving" in planned.plan.needs else None
        return lambda: module.divergence(encoding, code, driving)
    if planned.part.kind == "decoder":
        view = torch.tensor([[[0.0, 0.0, 1.0]]], device=device)
        return lambda: module(code, view)
    return None


def _encoding(blueprint: Blueprint, device: torch.device) -> Encoding:
    code = torch.zeros(1, blueprint.spec.code, device=device)
    source = blueprint.driving or blueprint.encoder
    return Encoding(code, code, torch.zeros(1, *source.plan.outputs["features"], device=device))


def sample_observation(
    observations: Mapping[str, Mapping[str, Shape]], name: str, device: torch.device | str = "cpu"
) -> Record | None:
    """Make one all-zero sample of an observation; None if it is not one of the core's records."""
    shapes = observations.get(name, {})

    def zeros(tensor: str) -> Tensor:
        return torch.zeros(1, *shapes[tensor], device=device)

    def cameras(*leading: int, height: int = 1, width: int = 1) -> Camera:
        eye = torch.eye(3, 4, device=device).expand(*leading, 3, 4)
        return Camera(eye[..., :3], eye, height, width)

    if "vertices" in shapes:
        return FaceState(zeros("vertices"), zeros("texture") if "texture" in shapes else None)
    if "images" in shapes and len(shapes["images"]) == 4:
        views, _, height, width = shapes["images"]
        mask = torch.ones(1, views, height, width, device=device)
        return Views(zeros("images"), cameras(1, views, height=height, width=width), mask)
    if "points" in shapes:
        return Keypoints(zeros("points"), torch.ones(1, shapes["points"][0], device=device), cameras(1))
    return None


def _macs(evaluate: Callable[[], Any] | None) -> int | None:
    if evaluate is None:
        return None
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        evaluate()
    return counter.get_total_flops() // 2
