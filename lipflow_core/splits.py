"""Opens a capture for a model, loads frames of its splits, and checks that they are sound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lipflow_core.errors import CaptureError, CompatibilityError
from lipflow_core.interfaces import Capture, FrameRequest, Split
from lipflow_core.planning.blueprint import Blueprint
from lipflow_core.plans import CaptureInputs, Mismatch
from lipflow_core.records import Frame


def open_capture(blueprint: Blueprint) -> Capture:
    """Build the capture of a model's spec, which overrides may have changed.

    Raises:
        CompatibilityError: If its surface, or what the encoders see, has other shapes than the model is made for, or an
            objective or metric can't use its observations.
    """
    part, made_for = blueprint.spec.capture, blueprint.capture.outputs
    found = part.plan(CaptureInputs())
    offered = found.outputs
    encoders = [planned for planned in (blueprint.encoder, blueprint.driving) if planned is not None]
    names = dict.fromkeys(name for planned in encoders for name in planned.plan.inputs)
    names |= dict.fromkeys(name for name in made_for if name.startswith((f"{blueprint.roles.surface}.", "topology.")))
    for name in names:
        if name in made_for and offered.get(name) != tuple(made_for[name]):
            raise CompatibilityError(
                f"capture '{part.name}' gives {name} of shape {offered.get(name)}, but the model is made for "
                f"{tuple(made_for[name])}",
                "Leave the capture's sizes as they were in training, or train a model with the new ones.",
            )
    for term in (*blueprint.objectives, *blueprint.metrics):
        try:
            term.part.plan(replace(term.given, observations=found.observations))
        except Mismatch as mismatch:
            raise CompatibilityError(f"{term.slot}: {mismatch}") from mismatch
    return part.build(CaptureInputs())


def open_split(capture: Capture, name: str) -> Split:
    """Open a split of a capture that has at least one frame.

    Raises:
        CaptureError: If there is no such split, or it is empty.
    """
    split = capture.split(name)
    if len(split) == 0:
        raise CaptureError(
            f"split '{name}' of the capture has no frames", hint="choose another split, or change the capture's options"
        )
    return split


def load_frames(split: Split, indices: np.ndarray, observations: Sequence[str]) -> Frame:
    """Load frames with the named observations and all cameras of the training views.

    Args:
        split: A split of a capture.
        indices: (B,) positions of the frames within the split.
        observations: Names of the observations; duplicates are ignored.

    Raises:
        CaptureError: If a frame is damaged or holds NaN, infinity or pictures outside [0, 1].
    """
    cameras = np.tile(np.arange(len(split.cameras)), (len(indices), 1))
    frame = split.load(FrameRequest(np.asarray(indices), tuple(dict.fromkeys(observations)), cameras))
    frame.check()
    return frame
