"""Measures the parts of a model: parameters and compute, counted on the model itself."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from lipflow_core.avatar import Avatar, frozen
from lipflow_core.interfaces import Flow
from lipflow_core.planning import Blueprint, PlannedPart
from lipflow_core.plans import Shape
from lipflow_core.records import Camera, Encoding, FaceState, Keypoints, Record, Views


@dataclass(frozen=True)
class Size:
    """The size of one part of a model.

    Args:
        parameters: Number of parameters; a part nested in another is counted in both.
        macs: Multiply-accumulates of one sample; None for renderers and where they can't be counted.
        device: Device that the part is on.
    """

    parameters: int
    macs: int | None
    device: str


def measure(avatar: Avatar, blueprint: Blueprint) -> dict[str, Size]:
    """Measure each part of a model, and the flow within each prior.

    Compute is counted at batch 1: an encoder encodes one observation, a prior takes the log-probability of one code as
    in training, a flow maps one code forward, a decoder decodes one face and one view.

    Args:
        avatar: Model to measure.
        blueprint: Plan that the model was built from.

    Returns:
        Slot of a part, such as "prior" or "prior.flow" → its size.
    """
    built = {
        id(blueprint.encoder): avatar.encoder,
        id(blueprint.driving): avatar.driving,
        id(blueprint.prior): avatar.prior,
        **{id(planned): avatar.prior_of(stage) for stage, planned in blueprint.stage_priors.items()},
        id(blueprint.fitting_prior): avatar.fitting_prior,
        id(blueprint.decoder): avatar.decoder,
        id(blueprint.renderer): avatar.renderer,
    }
    sizes = {}
    with frozen(avatar):
        encoding = _encoding(blueprint, avatar.device)
        for planned in blueprint.distinct():
            module = built[id(planned)]
            sizes[planned.slot] = _size(module, _evaluation(planned, module, encoding))
            flow = next((inner for inner in module.modules() if isinstance(inner, Flow)), None)
            if planned.part.kind == "prior" and flow is not None:
                context = encoding.features if flow.given.context else None
                sizes[f"{planned.slot}.flow"] = _size(flow, lambda flow=flow, h=context: flow(encoding.mean, h))
    return sizes


def _size(module: nn.Module, evaluate: Callable[[], Any] | None) -> Size:
    macs = None
    if evaluate is not None:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            evaluate()
        macs = counter.get_total_flops() // 2
    place = next((str(tensor.device) for tensor in (*module.parameters(), *module.buffers())), "–")
    return Size(sum(parameter.numel() for parameter in module.parameters()), macs, place)


def _evaluation(planned: PlannedPart, module: nn.Module, encoding: Encoding) -> Callable[[], Any] | None:
    device, code = encoding.mean.device, encoding.mean
    if planned.part.kind == "encoder":
        observation = _observation(planned.given.observations[module.modality], device)
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


def _observation(shapes: Mapping[str, Shape], device: torch.device) -> Record | None:
    """Make one all-zero sample of an observation; None if it is not one of the core's records."""

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
