"""The spec: pydantic models of everything that a spec file can contain. Imports no torch.

Every block has the paper's values as defaults; its `presets` list the values that differ at smaller sizes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt, model_validator

from lipflow_core.config import Config, Size
from lipflow_core.parts import (
    CaptureSlot,
    DecoderSlot,
    EncoderSlot,
    FlowSlot,
    MetricSlot,
    ObjectiveSlot,
    OptimizerSlot,
    Part,
    PriorSlot,
    RegistryDefault,
    RendererSlot,
    SameAs,
    SharedSlotOf,
    TemporalSlot,
)
from lipflow_core.plans import OptimizerInputs
from lipflow_core.specs.document import Origin, Path

PartName = Literal["encoder", "driving", "prior", "decoder"]
Preset = Literal["tiny", "small", "medium", "paper"]
ScoredCode = Literal["posterior", "start", "fitted", "fitted-without-likelihood"]
PRESETS: tuple[Preset, ...] = get_args(Preset)
POSE_PARAMETERS = 6
"""Parameters of a fitted pose: a rotation vector and a translation."""


class Stage(Config):
    """One stage of training, in which some parts learn and the others stay fixed."""

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]*$")] = "all"
    """Name of the stage in logs and checkpoints."""
    train: Annotated[tuple[PartName, ...], Field(min_length=1)] = ("encoder", "driving", "prior", "decoder")
    """Parts that this stage trains; the others stay fixed. The default trains all parts that the model has."""
    prior: PriorSlot | None = None
    """Prior used in this stage; the spec's `prior` if null."""
    steps: PositiveInt = 200_000
    """Largest number of optimizer steps of this stage."""
    learning_rate: PositiveFloat = 5e-4
    """Learning rate of Adam in the first steps."""
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Factor that the learning rate is multiplied by after 70 % of the steps."""
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
    """Options of training: its stages, and what all of them share."""

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = Field(default=({},))
    """Stages of training, run one after another; each starts from the weights of the one before."""
    batch: PositiveInt = 16
    """Number of frames in each step, for each process."""
    views: PositiveInt = 1
    """Number of training views rendered for each frame and step, drawn at random from the capture's cameras."""
    evaluate_every: PositiveInt = 1_000
    """Number of steps between two evaluations of the held-out loss."""
    evaluate_frames: PositiveInt = 256
    """Number of held-out frames in each evaluation of the held-out loss."""
    patience: PositiveInt = 20_000
    """Number of steps without a better held-out loss after which a stage stops. The best weights are kept."""
    checkpoint_every: PositiveInt = 1_000
    """Number of steps between two checkpoints, from which `--resume` continues."""
    log_every: PositiveInt = 50
    """Number of steps that each row of metrics.jsonl is averaged over."""
    clip: PositiveFloat = 1.0
    """Largest norm of the gradient over all parameters; larger gradients are scaled down to it."""
    devices: Annotated[int, Field(ge=1, le=1024)] = 1
    """Number of processes on each machine, one for each device."""
    nodes: Annotated[int, Field(ge=1, le=1024)] = 1
    """Number of machines that train together."""
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    """Floating-point precision: "32-true", "64-true", or a mixed precision of Lightning Fabric."""
    threads: Annotated[int, Field(ge=0, le=1024)] = 0
    """Number of torch threads of each process; 0 leaves the choice to torch."""
    workers: Annotated[int, Field(ge=0, le=256)] = 1
    """Number of threads that load batches in advance; 0 loads each batch in its step. Results do not depend on it."""

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
    """Options of fitting the rigid pose of the driving cameras together with the code (paper, Table 9)."""

    translation_scale: PositiveFloat = 100.0
    """Millimetres per unit of the translation parameters."""


class Perturbation(Config):
    """Options of random errors in the pose of the driving cameras that fitting is given."""

    degrees: Annotated[float, Field(ge=0, le=180)] = 2.0
    """Angle by which the cameras are turned, about a random axis through the head's origin."""
    millimetres: NonNegativeFloat = 2.0
    """Distance by which the cameras are shifted, in a random direction."""
    hold: Literal["frame", "segment"] = "frame"
    """Duration of a displacement: "frame" draws one for each frame, "segment" one for all frames of a segment."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of the displacements. With segment and frame number it decides them, so that all models see the same."""


class Grid(Config):
    """Options of the grid search; the best point on some frames is used for all (paper, H.2)."""

    learning_rate: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.01, 0.1, 0.5)
    """Values to try for the optimizer's option `learning_rate`; without effect if it has no such option."""
    latent_weight: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.1, 0.01, 0.001)
    """Weights to try for the objectives that ask the prior."""
    frames: PositiveInt = 16
    """Number of frames that each point of the grid is tried on."""
    choose_on: Literal["scored", "training", "apart"] = "scored"
    """Frames that each point of the grid is tried on: some of those that are then fitted and scored, as in the paper;
    frames of the training split; or frames of the same split apart from those that are scored, of other segments where
    there are enough."""
    extend: bool = False
    """Whether an axis whose best value lies at its edge gets one more value, the edge times the ratio of its last two
    values, until the best value lies inside."""
    extensions: Annotated[int, Field(ge=1, le=32)] = 4
    """Largest number of times that the grid is extended."""


class Fitting(Config):
    """Options of fitting latent codes to poor observations."""

    prior: PriorSlot | None = None
    """Prior used in fitting; the spec's `prior` if null."""
    start: Literal["prior", "zero"] = "prior"
    """Code that fitting starts from: the prior's mode, or zero."""
    objectives: Annotated[tuple[ObjectiveSlot, ...], Field(min_length=1)]
    """Terms of the loss that fitting minimises, each multiplied by its weight."""
    steps: PositiveInt = 200
    """Largest number of optimizer steps, each with one evaluation of the loss, for each frame."""
    space: Literal["code", "base"] = "code"
    """Space in which the optimizer moves. "code" is the code itself; "base" is the prior's base space, where the prior
    is near N(0, I), so that one step suits all directions. In "base" each step also computes the flow's inverse."""
    optimizer: OptimizerSlot = Field(default_factory=RegistryDefault("optimizer"))
    """Optimizer, which chooses each frame's next code from the loss and its gradient."""
    patience: PositiveInt = 20
    """Number of steps without a lower loss after which a frame stops. Its best code is kept."""
    temporal: TemporalSlot | None = None
    """Temporal prior, which fits the frames of a run together: frames of one segment whose numbers follow each other.
    Null fits each frame alone. A grid search always does."""
    pose: PoseFitting | None = None
    """Fit the pose of the driving cameras together with the code, with these options; null keeps the given cameras."""
    perturbation: Perturbation | None = None
    """Random error of the driving cameras' pose that the fit is given. A fit of the pose starts from it; a fit with
    fixed cameras shows how much it loses. Null gives the true cameras. The driving encoder's pictures do not change."""
    grid: Grid | None = None
    """Grid search for the learning rate and the likelihood's weight on some frames; null uses the given values."""
    batch: PositiveInt = 16
    """Largest number of frames decoded together; results do not depend on it. With a temporal prior a whole run is
    fitted together, decoded in parts of this size."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"steps": 10}, "small": {"steps": 100}}

    @property
    def has_learning_rate(self) -> bool:
        """Whether the optimizer has the option `learning_rate`, so that a grid searches it."""
        return "learning_rate" in type(self.optimizer.config).model_fields

    def optimizer_inputs(self, code: int) -> OptimizerInputs:
        """Return the inputs of the optimizer, for a code of this size."""
        return OptimizerInputs(code=code, pose=0 if self.pose is None else POSE_PARAMETERS)


class Evaluation(Config):
    """Options of evaluation: the frames that are scored, and the metrics."""

    frames: PositiveInt = 500
    """Largest number of frames that are scored, spread evenly over the split."""
    whole_segments: bool = False
    """Whether the frames are those of whole segments, spread evenly, as metrics of sequences need."""
    codes: Annotated[tuple[ScoredCode, ...], Field(min_length=1)] = ("posterior", "start", "fitted")
    """Codes of each frame that are decoded and scored: Q's ("posterior"), the one that fitting starts from ("start"),
    the fitted one, and "fitted-without-likelihood", fitted without the objectives that ask the prior. Nothing is fitted
    if neither of the last two is named."""
    view: str | None = None
    """Observation whose pictures are compared; the capture's scored view if null."""
    metrics: Annotated[tuple[MetricSlot, ...], Field(min_length=1)] = Field(default_factory=RegistryDefault("metrics"))
    """Metrics that score decoded codes, in the order of the table's columns. A grid search chooses by the first one."""
    report_frames: PositiveInt = 6
    """Number of frames shown as pictures in the report."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"frames": 4, "report_frames": 2},
        "small": {"frames": 32},
        "medium": {"frames": 128},
    }


class Spec(Config):
    """A spec, which defines one model from its capture to the metrics of its evaluation."""

    version: Literal[1] = 1
    """Version of the spec format."""
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$")]
    """Name of the system in tables and folders, such as "lip-flow-hmc"."""
    preset: Preset = "paper"
    """Set of default sizes: "paper", or the smaller "medium", "small" and "tiny". Values written in the spec win."""
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    """Seed of everything random in training: initial weights, order of frames, cameras, noise."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """Device to run on; "auto" takes CUDA if a device is present and all parts run on it, otherwise the CPU."""
    code: Size = 256
    """Number of dimensions of the latent code. A larger code can hold more detail and makes the networks larger."""
    capture: CaptureSlot
    """Capture that provides the frames."""
    encoder: Annotated[Part | SameAs, SharedSlotOf("encoder")]
    """Training-time encoder Q; `{same_as: driving}` shares the driving encoder and its weights."""
    driving: EncoderSlot | None = None
    """Inference-time encoder P, which sees the poor observation; null if no prior needs one."""
    prior: PriorSlot
    """Prior over the code, conditioned on the driving encoder's prediction or unconditional."""
    flow: FlowSlot | None = None
    """Normalizing flow of the prior; null if the prior takes no flow."""
    decoder: DecoderSlot
    """Decoder D, which maps a code and a view direction to vertices and texture."""
    renderer: RendererSlot = Field(default_factory=RegistryDefault("renderer"))
    """Renderer that draws decoded vertices and texture."""
    training: Training = Field(default={})
    """Options of training, which runs in stages."""
    fitting: Fitting
    """Options of fitting codes to observations of the inference-time sensors."""
    evaluation: Evaluation = Field(default={})
    """Options of scoring fitted codes."""

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"code": 8},
        "small": {"code": 48},
        "medium": {"code": 128},
    }

    def __repr_args__(self) -> Iterator[tuple[str, Any]]:
        yield from (("name", self.name), ("preset", self.preset))
        for slot in ("capture", "encoder", "driving", "prior", "flow", "decoder", "renderer"):
            part = getattr(self, slot)
            if part is not None:
                yield slot, part.name if isinstance(part, Part) else f"same as {part.same_as}"

    @cached_property
    def origins(self) -> Mapping[Path, Origin]:
        """Path of each value → its file, line and column, or its override. Empty if no file was read."""
        return {}
