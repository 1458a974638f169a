"""The spec: pydantic models of everything that a spec file can say. Imports no torch.

Every block has the paper's values as defaults; `presets` names what differs at smaller sizes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, Any, ClassVar, Literal, Self, get_args

from pydantic import (
    Field,
    GetJsonSchemaHandler,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationInfo,
    model_validator,
)

from lipflow_core.parts import (
    CaptureSlot,
    Config,
    DecoderSlot,
    EncoderSlot,
    FlowSlot,
    ObjectiveSlot,
    Part,
    PriorSlot,
    RendererSlot,
    SlotOf,
)
from lipflow_core.specs.document import Origin, Path

PartName = Literal["encoder", "driving", "prior", "decoder"]
Preset = Literal["tiny", "small", "medium", "paper"]
PRESETS: tuple[Preset, ...] = get_args(Preset)


class SameAs(Config):
    """In place of a slot: use the component of another slot, weights and all.

    Args:
        same_as: Name of that slot.
    """

    same_as: Literal["driving"]


@dataclass(frozen=True)
class SharedSlotOf(SlotOf):
    """A slot that may also name another slot whose component it shares."""

    def __get_pydantic_json_schema__(self, schema: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        shared = {"type": "object", "properties": {"same_as": {"enum": ["driving"]}}, "additionalProperties": False}
        return {**super().__get_pydantic_json_schema__(schema, handler), "anyOf": [shared]}

    def _as_data(self, value: Part | SameAs) -> Any:
        return value.model_dump() if isinstance(value, SameAs) else value.as_data()

    def _validate(self, value: Any, info: ValidationInfo) -> Part | SameAs:
        if isinstance(value, SameAs):
            return value
        if isinstance(value, Mapping) and "same_as" in value:
            return SameAs.model_validate(value, context=info.context)
        return super()._validate(value, info)


class Ramp(Config):
    """A weight that changes linearly over a stage's steps.

    Args:
        start: Weight at step 0.
        end: Weight from step `steps` on.
        steps: Length of the ramp.
    """

    start: NonNegativeFloat
    end: NonNegativeFloat
    steps: PositiveInt

    def at(self, step: int) -> float:
        """The weight at a step."""
        return self.start + (self.end - self.start) * min(step / self.steps, 1.0)


class LossWeights(Config):
    """Weights of the training objective L = Σ_v λ_I L_I + λ_G L_G + λ_L L_L (paper, supplement H.1).

    Args:
        image: λ_I of the rendered image's squared error.
        geometry: λ_G of the standardised vertices' squared error.
        latent: λ_L of the prior's divergence, constant or ramped.
    """

    image: NonNegativeFloat = 10.0
    geometry: NonNegativeFloat = 1.0
    latent: NonNegativeFloat | Ramp = 0.01


class Stage(Config):
    """One stage of training: some parts learn, the others stay as they are.

    Args:
        name: Its name in logs and checkpoints.
        train: Parts that learn; all four names stand for whichever of them the model has.
        prior: The prior of this stage; the spec's `prior` if null.
        steps: At most this many optimizer steps.
        learning_rate: Adam's, at the start.
        learning_rate_decay: Factor on the learning rate after 70 % of the steps.
        weights: Of the objective's terms.
    """

    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_-]*$")] = "all"
    train: tuple[PartName, ...] = ("encoder", "driving", "prior", "decoder")
    prior: PriorSlot | None = None
    steps: PositiveInt = 200_000
    learning_rate: PositiveFloat = 5e-4
    learning_rate_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    weights: LossWeights = LossWeights()

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"steps": 8, "learning_rate": 2e-3},
        "small": {"steps": 1_200, "learning_rate": 2e-3, "learning_rate_decay": 0.2},
        "medium": {"steps": 30_000, "learning_rate": 1e-3, "learning_rate_decay": 0.2},
    }


class Augmentation(Config):
    """Random changes of what the driving encoder sees in training, drawn anew for each frame and epoch.

    Args:
        gain: Standard deviation of the log of a gain per headset picture.
        offset: Standard deviation of an offset per headset picture, in [0, 1] units.
        noise: Standard deviation of noise per headset pixel.
        shift: Headset pictures are shifted by up to this share of their width and height.
        keypoints: Standard deviation of noise on keypoints, as a share of the picture's width.
    """

    gain: NonNegativeFloat = 0.1
    offset: NonNegativeFloat = 0.02
    noise: NonNegativeFloat = 0.02
    shift: NonNegativeFloat = 0.02
    keypoints: NonNegativeFloat = 0.003


class Training(Config):
    """How the parts are trained.

    Args:
        stages: One after another, each from the weights of the one before.
        batch: Frames per step and process.
        views: Dome pictures rendered per frame and step.
        evaluate_every: Steps between evaluations of the held-out loss.
        evaluate_frames: Held-out frames in such an evaluation.
        patience: Stop a stage when the held-out loss has not improved for this many steps; the best weights are kept.
        checkpoint_every: Steps between checkpoints.
        log_every: Steps between rows of metrics.jsonl, each the mean over them.
        clip: Gradients are scaled down to at most this norm.
        image_scale: Image errors are divided by this, an intensity in [0, 1]; the smaller, the less geometry is
            learned.
        augmentation: Of the driving observation.
        devices: Number of processes, one per device.
        nodes: Number of machines.
        precision: "32-true", or a mixed precision of Lightning Fabric.
        threads: torch threads per process; 0 leaves torch's choice.
        workers: Threads that load batches ahead.
    """

    stages: Annotated[tuple[Stage, ...], Field(min_length=1)] = (Stage(),)
    batch: PositiveInt = 16
    views: PositiveInt = 1
    evaluate_every: PositiveInt = 1_000
    evaluate_frames: PositiveInt = 256
    patience: PositiveInt = 20_000
    checkpoint_every: PositiveInt = 1_000
    log_every: PositiveInt = 50
    clip: PositiveFloat = 1.0
    image_scale: PositiveFloat = 0.1
    augmentation: Augmentation = Augmentation()
    devices: PositiveInt = 1
    nodes: PositiveInt = 1
    precision: Literal["32-true", "bf16-mixed", "16-mixed", "64-true"] = "32-true"
    threads: NonNegativeInt = 0
    workers: NonNegativeInt = 1

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
    """Fit a rigid head-to-headset transform together with the code (paper, Table 9).

    Args:
        learning_rate: Adam's for the six pose parameters, in units of 1 radian and `translation_scale` mm.
        translation_scale: Millimetres per unit of the translation parameters.
    """

    learning_rate: PositiveFloat = 0.01
    translation_scale: PositiveFloat = 100.0


class Grid(Config):
    """Hyper-parameters tried on the first batch of frames; the best by the frontal PSNR is used for all (paper, H.2).

    Args:
        learning_rate: Learning rates to try.
        latent_weight: Weights of objective `latent-likelihood` to try.
        frames: Frames that they are tried on.
    """

    learning_rate: Annotated[tuple[PositiveFloat, ...], Field(min_length=1)] = (0.01, 0.1, 0.5)
    latent_weight: Annotated[tuple[NonNegativeFloat, ...], Field(min_length=1)] = (0.1, 0.01, 0.001)
    frames: PositiveInt = 16


class Fitting(Config):
    """How a latent code is fitted to a poor observation.

    Args:
        prior: The prior while fitting; the spec's `prior` if null.
        start: First code: the prior's mode, or zero.
        objectives: What is minimised, each times its weight.
        steps: At most this many.
        learning_rate: Adam's for the code.
        patience: A row stops when its loss has not improved for this many steps; its best code is kept.
        pose: Fit the head-to-headset pose too, if given.
        grid: Choose learning rate and latent weight on the first batch, if given.
        batch: Rows fitted together.
    """

    prior: PriorSlot | None = None
    start: Literal["prior", "zero"] = "prior"
    objectives: Annotated[tuple[ObjectiveSlot, ...], Field(min_length=1)]
    steps: PositiveInt = 200
    learning_rate: PositiveFloat = 0.1
    patience: PositiveInt = 20
    pose: PoseFitting | None = None
    grid: Grid | None = None
    batch: PositiveInt = 16

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {"tiny": {"steps": 10}, "small": {"steps": 100}}


class Evaluation(Config):
    """What fitted frames are scored on.

    Args:
        frames: Held-out frames, spread evenly over the split.
        view: Observation that pictures are compared in.
        report_frames: Frames shown as pictures in the report.
    """

    frames: PositiveInt = 500
    view: str = "frontal"
    report_frames: PositiveInt = 6

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"frames": 4, "report_frames": 2},
        "small": {"frames": 32},
        "medium": {"frames": 128},
    }


class Spec(Config):
    """One model, from capture to fitted face.

    Args:
        version: Of this format; 1.
        name: Of the system, such as "lip-flow-hmc".
        preset: Sizes: "paper" is the defaults; the others lay smaller ones under what the spec says.
        seed: Of everything random.
        device: "cpu", "cuda", or "auto" for CUDA where there is one.
        code: Size of the latent code.
        capture: Where frames come from.
        encoder: Training-time encoder Q, or `{same_as: driving}`.
        driving: Inference-time encoder P; null for none.
        prior: Ties the code's space to the driving encoding.
        flow: Taken by priors that use one; null for none.
        decoder: Code and view direction → face.
        renderer: Face → picture.
        training: How the parts are trained.
        fitting: How a code is fitted.
        evaluation: What fits are scored on.
    """

    version: Literal[1] = 1
    name: Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$")]
    preset: Preset = "paper"
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: Literal["auto", "cpu", "cuda"] = "auto"
    code: PositiveInt = 256
    capture: CaptureSlot
    encoder: Annotated[Part | SameAs, SharedSlotOf("encoder")]
    driving: EncoderSlot | None = None
    prior: PriorSlot
    flow: FlowSlot | None = None
    decoder: DecoderSlot
    renderer: RendererSlot = "cpu"
    training: Training = Training()
    fitting: Fitting
    evaluation: Evaluation = Evaluation()

    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "tiny": {"code": 8},
        "small": {"code": 48},
        "medium": {"code": 128},
    }

    @cached_property
    def origins(self) -> Mapping[Path, Origin]:
        """Where each value was written: path → file, line and column, or override; empty if not read from a file."""
        return {}
