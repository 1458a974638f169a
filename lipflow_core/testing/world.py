"""Makes the worlds that components observe while the kit examines them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, TypeVar

import numpy as np
import torch
from pydantic import TypeAdapter

from lipflow_core.hooks import Kind
from lipflow_core.interfaces import Capture, FrameRequest
from lipflow_core.parts import FlowSlot, Part
from lipflow_core.plans import (
    CaptureInputs,
    CouplingInputs,
    DecoderInputs,
    EncoderInputs,
    FlowInputs,
    MetricInputs,
    Mismatch,
    ObjectiveInputs,
    Observations,
    OptimizerInputs,
    Plan,
    PriorInputs,
    RendererInputs,
    Roles,
    TemporalInputs,
)
from lipflow_core.records import Frame, Record, Template
from lipflow_core.registry import Registry
from lipflow_core.testing import inputs

R = TypeVar("R", bound=Record)

AT_LEAST = 8
"""Smallest number of frames that are made together, so that a sample does not depend on the size of its batch."""

POSE = 6
"""Parameters of a pose that is fitted with the code."""

DRIVING = Plan(outputs={"mean": (inputs.CODE,), "log_std": (inputs.CODE,), "features": (inputs.FEATURES,)})
"""Plan of a driving encoder, for priors."""


@dataclass(frozen=True, eq=False)
class World:
    """Holds a captured subject: its template, and frames with all observations.

    Args:
        capture: Plan of a capture, with the shapes and roles of the observations.
        template: Template of the subject.
        frames: Function from a number of frames and a seed to these frames, with all observations.
    """

    capture: Plan
    template: Template
    frames: Callable[[int, int], Frame]

    @property
    def observations(self) -> Observations:
        """Shapes by observation and tensor."""
        return self.capture.observations

    @property
    def roles(self) -> Roles:
        """Roles of the observations."""
        assert self.capture.roles is not None, "the plan of the capture has no roles"
        return self.capture.roles

    def frame(self, batch: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Frame:
        """Make a batch of frames with all observations; sample i of a seed is the same in batches of any size."""
        return cast(self.frames(max(batch, AT_LEAST), seed), dtype).rows(torch.arange(batch))

    def given(self, part: Part, registry: Registry) -> Any:
        """Choose the inputs that a component is planned and built with, at the kit's sizes.

        A prior gets a driving encoder and a flow exactly if it takes them.

        Args:
            part: Component with its options.
            registry: Registry that a flow for priors is looked up in.

        Raises:
            lipflow_core.plans.Mismatch: If its plan refuses all inputs that this world has for its kind.
        """
        refusals = []
        for given in self._inputs_of(part.kind, registry):
            try:
                part.plan(given)
            except Mismatch as refusal:
                refusals.append(str(refusal))
            else:
                return given
        raise Mismatch(
            f"{'; '.join(dict.fromkeys(refusals))}\nIt was offered the observations {', '.join(self.observations)}; "
            "name a capture that offers what it needs (capture=… in Python, --capture on the command line)"
        )

    def _inputs_of(self, kind: Kind, registry: Registry) -> Iterator[Any]:
        surface = self.observations[self.roles.surface]
        vertices, texture = surface["vertices"][0], surface["texture"]
        code, topology, landmarks = inputs.CODE, self.template.topology, len(self.template.landmarks)
        offered: dict[str, Any] = {"code": code, "observations": self.observations, "roles": self.roles}
        match kind:
            case "capture":
                yield CaptureInputs()
            case "encoder":
                yield EncoderInputs(**offered)
            case "prior":
                for flow in (None, *_some_flow(registry)):
                    for driving, name in ((DRIVING, "driving"), (None, None)):
                        yield PriorInputs(code=code, driving=driving, driving_name=name, flow=flow)
            case "flow":
                yield FlowInputs(features=code, context=inputs.FEATURES)
            case "coupling":
                yield CouplingInputs(features=code, context=inputs.FEATURES, hidden=16, blocks=1)
            case "decoder":
                yield DecoderInputs(code=code, vertices=vertices, texture=texture)
            case "renderer":
                triangles = len(topology.triangles)
                yield RendererInputs(device="cpu", vertices=vertices, triangles=triangles, texture=texture)
            case "objective":
                yield ObjectiveInputs(**offered, view=self.roles.training_views, landmarks=landmarks)
            case "optimizer":
                yield OptimizerInputs(code=code, pose=POSE)
            case "temporal":
                yield TemporalInputs(code=code)
            case "metric":
                yield MetricInputs(**offered, view=self.roles.scored_view, landmarks=landmarks)


@cache
def spherical(registry: Registry) -> World:
    """Make the kit's own world: a spherical head of 42 vertices, and frames of random content.

    Args:
        registry: Registry whose default `observations` gives the names of the observations.
    """
    names: Mapping[str, str] = registry.default("observations")
    frame, template = inputs.frame(1, names=names), inputs.template(torch.float64)
    shapes = {
        f"{name}.{tensor}": tuple(value.shape[1:])
        for name, record in frame.observations.items()
        for tensor, value in record.tensors()
        if not tensor.startswith("camera.")
    }
    roles = Roles(**{use: names[use] for use in ("surface", "training_views", "scored_view")})

    def make(count: int, seed: int) -> Frame:
        return inputs.frame(count, seed=seed, dtype=torch.float64, names=names)

    return World(Plan(outputs=shapes, roles=roles), template, make)


def captured(part: Part) -> World:
    """Make the world of a capture: frames of its training split, chosen by seed, with all cameras.

    Raises:
        lipflow_core.errors.CaptureError: If the capture can't be opened.
    """
    capture: Capture = part.build(CaptureInputs())
    split, planned = capture.split("train"), capture.planned
    order = np.random.default_rng(0).permutation(len(split))

    @cache
    def load(count: int, seed: int) -> Frame:
        chosen = order[(np.arange(count) + seed) % len(order)]
        cameras = np.tile(np.arange(len(split.cameras)), (count, 1))
        return split.load(FrameRequest(chosen, tuple(planned.observations), cameras))

    return World(planned, capture.template(), load)


def cast(record: R, dtype: torch.dtype) -> R:
    """Convert the real numbers of a record to another type."""
    return record.apply(lambda tensor: tensor.to(dtype) if tensor.is_floating_point() else tensor)


def _some_flow(registry: Registry) -> Iterator[Part]:
    """Yield the first flow that the registry offers, if it offers any."""
    for name in registry.names("flow")[:1]:
        yield TypeAdapter(FlowSlot).validate_python(name, context={"registry": registry, "preset": "tiny"})
