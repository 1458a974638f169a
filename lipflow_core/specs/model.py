"""The spec: pydantic models of everything that a spec file can say. Imports no torch.

Every block has the paper's values as defaults; `presets` names what differs at smaller sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from lipflow_core.config import Config
from lipflow_core.parts import (
    CaptureSlot,
    DecoderSlot,
    EncoderSlot,
    FlowSlot,
    MetricSlot,
    ObjectiveSlot,
    Part,
    PriorSlot,
    RegistryDefault,
    RendererSlot,
    SameAs,
    SharedSlotOf,
)
from lipflow_core.specs.document import Origin, Path

PartName = Literal["encoder", "driving", "prior", "decoder"]
Preset = Literal["tiny", "small", "medium", "paper"]
PRESETS: tuple[Preset, ...] = get_args(Preset)


class Stage(Config):
    """One stage of training: some parts learn, the others stay as they are."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]*$")] = "all"
    """Its name in logs and checkpoints."""
    train: tuple[PartName, ...] = ("encoder", "driving", "prior", "decoder")
    """Parts that learn; all four names stand for whichever of them the model has."""
    prior: PriorSlot | None = None
    """The prior of this stage; the spec's `prior` if null."""
    steps: PositiveInt = 200_000
    """At most this many optimizer steps."""
    learning_rate: PositiveFloat = 5e-4
    """Adam's, at the start."""
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor on the learning rate after 70 % of the steps."""
    objectives: Annotated[tuple[ObjectiveSlot, ...], Field(min_length=1)] = Field(
        default_factory=RegistryDefault("objectives")
    )
    """Terms of the loss, each multiplied by its weight, which may be a ramp over the stage's steps."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"steps": 8, "learning_rate": 2e-3},
        "small": {"steps": 1_200, "learning_rate": 2e-3, "learning_rate_decay": 0.2},
        "medium": {"steps": 30_000, "learning_rate": 1e-3, "learning_rate_decay": 0.2},
    }


class Training(Config):
    """How the parts are trained."""

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = Field(default=({},))
    """One after another, each from the weights of the one before."""
    batch: PositiveInt = 16
    """Frames per step and process."""
    views: PositiveInt = 1
    """Dome pictures rendered per frame and step."""
    evaluate_every: PositiveInt = 1_000
    """Steps between evaluations of the held-out loss."""
    evaluate_frames: PositiveInt = 256
    """Held-out frames in such an evaluation."""
    patience: PositiveInt = 20_000
    """Stop a stage when the held-out loss has not improved for this many steps; the best weights are kept."""
    checkpoint_every: PositiveInt = 1_000
    """Steps between checkpoints."""
    log_every: PositiveInt = 50
    """Steps between rows of metrics.jsonl, each the mean over them."""
    clip: PositiveFloat = 1.0
    """Gradients are scaled down to at most this norm."""
    devices: PositiveInt = 1
    """Number of processes, one per device."""
    nodes: PositiveInt = 1
    """Number of machines."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    """"32-true", or a mixed precision of Lightning Fabric."""
    threads: NonNegativeInt = 0
    """Torch threads per process; 0 leaves torch's choice."""
    workers: NonNegativeInt = 1
    """Threads that load batches ahead."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {
            "batch": 4,
            "evaluate_every": 4,
            "evaluate_frames": 4,
            "checkpoint_every": 4,
            "log_every": 1,
            "patience": 8,
        },
        "small": {
            "evaluate_every": 250,
            "evaluate_frames": 32,
            "checkpoint_every": 250,
            "log_every": 25,
            "patience": 2_000,
        },
        "medium": {"evaluate_every": 1_000, "evaluate_frames": 128, "patience": 10_000},
    }

    @model_validator(mode="after")
    def _name_stages_apart(self) -> Self:
        names = [stage.name for stage in self.stages]
        twice = next((name for name in names if names.count(name) > 1), None)
        if twice is not None:
            raise ValueError(f"two stages are named '{twice}'; give each a 'name' of its own")
        return self


class PoseFitting(Config):
    """Fit the rigid pose of the driving cameras against the head together with the code (paper, Table 9)."""

    learning_rate: PositiveFloat = 0.01
    """Adam's for the six pose parameters, in units of 1 radian and `translation_scale` mm."""
    translation_scale: PositiveFloat = 100.0
    """Millimetres per unit of the translation parameters."""


class Grid(Config):
    """Hyper-parameters tried on the first batch of frames; the best by the first metric serves all (paper, H.2)."""

    learning_rate: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.01, 0.1, 0.5)
    """Learning rates to try."""
    latent_weight: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.1, 0.01, 0.001)
    """Weights of objective `latent-likelihood` to try."""
    frames: PositiveInt = 16
    """Frames that they are tried on."""


class Fitting(Config):
    """How a latent code is fitted to a poor observation."""

    prior: PriorSlot | None = None
    """The prior while fitting; the spec's `prior` if null."""
    start: Literal["prior", "zero"] = "prior"
    """First code: the prior's mode, or zero."""
    objectives: Annotated[tuple[ObjectiveSlot, ...], Field(min_length=1)]
    """What is minimised, each times its weight."""
    steps: PositiveInt = 200
    """At most this many."""
    learning_rate: PositiveFloat = 0.1
    """Adam's for the code."""
    patience: PositiveInt = 20
    """A row stops when its loss has not improved for this many steps; its best code is kept."""
    pose: PoseFitting | None = None
    """Fit the head-to-headset pose too, if given."""
    grid: Grid | None = None
    """Choose learning rate and latent weight on the first batch, if given."""
    batch: PositiveInt = 16
    """Rows fitted together."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"steps": 10}, "small": {"steps": 100}}


class Evaluation(Config):
    """What fitted frames are scored on."""

    frames: PositiveInt = 500
    """Held-out frames, spread evenly over the split."""
    view: str | None = None
    """Observation that pictures are compared in; the capture's scored view if null."""
    metrics: Annotated[tuple[MetricSlot, ...], Field(min_length=1)] = Field(default_factory=RegistryDefault("metrics"))
    """Scores of decoded codes, in the order of the table's columns. A grid search chooses by the first one."""
    report_frames: PositiveInt = 6
    """Frames shown as pictures in the report."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"frames": 4, "report_frames": 2},
        "small": {"frames": 32},
        "medium": {"frames": 128},
    }


class Spec(Config):
    """One model, from capture to fitted face."""

    version: Literal[1] = 1
    """Of this format; 1."""
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$")]
    """Of the system, such as "lip-flow-hmc"."""
    preset: Preset = "paper"
    """Sizes: "paper" is the defaults; the others lay smaller ones under what the spec says."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Of everything random."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """"cpu", "cuda", or "auto" for CUDA where there is one."""
    code: PositiveInt = 256
    """Size of the latent code."""
    capture: CaptureSlot
    """Where frames come from."""
    encoder: Annotated[Part | SameAs, SharedSlotOf("encoder")]
    """Training-time encoder Q, or `{same_as: driving}`."""
    driving: EncoderSlot | None = None
    """Inference-time encoder P; null for none."""
    prior: PriorSlot
    """Ties the code's space to the driving encoding."""
    flow: FlowSlot | None = None
    """Taken by priors that use one; null for none."""
    decoder: DecoderSlot
    """Code and view direction → face."""
    renderer: RendererSlot = Field(default_factory=RegistryDefault("renderer"))
    """Face → picture."""
    training: Training = Field(default={})
    """Stages of training, and what they share."""
    fitting: Fitting
    """How a code is fitted."""
    evaluation: Evaluation = Field(default={})
    """What fits are scored on."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"code": 8},
        "small": {"code": 48},
        "medium": {"code": 128},
    }

    @cached_property
    def origins(self) -> Mapping[Path, Origin]:
        """Where each value was written: path → file, line and column, or override; empty if not read from a file."""
        return {}
