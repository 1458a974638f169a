"""What fits with what, known before anything is built: inputs and plans of components, in plain Python.

Each component's Config has a method `plan(given)` which takes the inputs of its kind (below) and returns a `Plan`, or
raises `Mismatch` with a sentence that says which two parts don't fit and why. The same inputs are then handed to the
component's constructor, `Implementation(config, given)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from lipflow_core.parts import Part

Shape = tuple[int, ...]
"""Shape of one sample, without the batch axis."""

Observations = Mapping[str, Mapping[str, Shape]]
"""Per observation of a capture the shapes of its tensors without batch axis, as in
`{"headset": {"images": (3, 1, 48, 64)}}`. Observations have the names that the capture gives them."""


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Which observations of a capture the core itself uses, and what for.

    Args:
        surface: The `FaceState` that is learned: tracked vertices and average texture. Its shapes are the decoder's,
            encoders see it standardised, and geometry is compared with it.
        training_views: The `Views` of the calibrated cameras that training compares renders with. The cameras of
            `Split.cameras` are these.
        scored_view: The `Views` that scores compare pictures in, unless `evaluation.view` names another.
    """

    surface: str
    training_views: str
    scored_view: str


class Mismatch(Exception):
    """Raised by `Config.plan`: two parts do not fit. The message names both."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a component will be once built.

    Args:
        inputs: Name → shape of what it consumes, without batch axis.
        outputs: Name → shape of what it makes.
        devices: Device types that it runs on.
        differentiable: Gradients flow from outputs to inputs.
        invertible: It has an inverse (flows, couplings).
        volume_preserving: Its log|det| depends on neither code nor context (flows, couplings).
        needs: Names of further things that it needs, in the terms of its kind: for an encoder its modality, for an
            objective the observations it compares with.
        parts: Plans of the components nested in it, by the option's name.
        roles: Which of its observations the core uses (captures).
    """

    inputs: Mapping[str, Shape] = field(default_factory=dict)
    outputs: Mapping[str, Shape] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "cuda")
    differentiable: bool = True
    invertible: bool = False
    volume_preserving: bool = False
    needs: tuple[str, ...] = ()
    parts: Mapping[str, Plan] = field(default_factory=dict)
    roles: Roles | None = None

    @property
    def observations(self) -> Observations:
        """Shapes of a capture's outputs by observation and tensor, those of topology and template left out."""
        found: dict[str, dict[str, Shape]] = {}
        for name, shape in self.outputs.items():
            observation, _, tensor = name.partition(".")
            if observation not in ("topology", "template"):
                found.setdefault(observation, {})[tensor] = tuple(shape)
        return found


@dataclass(frozen=True)
class Needs:
    """What has to be made for some objectives or metrics, read off the `needs` of their plans.

    Args:
        rendered: Observations that decoded codes are drawn as, from "render:NAME".
        targets: Observations that are compared with, from "render:NAME" and "target:NAME".
        vertices: Whether decoded vertices are looked at.
        prior: Whether the conditioned prior is asked.
        divergence: Whether the prior's divergence from the posterior is taken.
    """

    rendered: tuple[str, ...]
    targets: tuple[str, ...]
    vertices: bool
    prior: bool
    divergence: bool

    @classmethod
    def of(cls, plans: Iterable[Plan]) -> Needs:
        """Unite the needs of several plans."""
        needs = [need for plan in plans for need in plan.needs]
        rendered = dict.fromkeys(need.removeprefix("render:") for need in needs if need.startswith("render:"))
        targets = dict.fromkeys(need.removeprefix("target:") for need in needs if need.startswith("target:"))
        return cls(
            tuple(rendered), tuple(rendered | targets), "vertices" in needs, "prior" in needs, "divergence" in needs
        )

    @property
    def face(self) -> bool:
        """Whether codes are decoded at all."""
        return self.vertices or bool(self.rendered)


@dataclass(frozen=True, kw_only=True)
class CaptureInputs:
    """Given to a capture: nothing yet."""


@dataclass(frozen=True, kw_only=True)
class EncoderInputs:
    """Given to an encoder: the code's size, what the capture offers to observe, and which of it is the surface."""

    code: int
    observations: Observations
    roles: Roles


@dataclass(frozen=True, kw_only=True)
class PriorInputs:
    """Given to a prior.

    Args:
        code: Size of the latent code.
        driving: Plan of the driving encoder, whose outputs are "mean" (code,), "log_std" (code,) and "features"
            (h,); None if the spec names none.
        driving_name: How the spec calls it, for messages.
        flow: The spec's flow, still to be planned and built by the prior with `FlowInputs`; None if it names none.
    """

    code: int
    driving: Plan | None = None
    driving_name: str | None = None
    flow: Part | None = None

    def driving_shapes(self, prior: str) -> dict[str, Shape]:
        """Shapes of the driving encoding, "mean", "log_std" and "features", for a prior that needs it.

        Args:
            prior: The prior's name, for messages.

        Raises:
            Mismatch: If there is no driving encoder or its code has another size.
        """
        if self.driving is None:
            raise Mismatch(
                f"prior '{prior}' needs a driving encoder, but the spec's slot 'driving' is empty; name one there"
            )
        shapes = {name: self.driving.outputs[name] for name in ("mean", "log_std", "features")}
        if shapes["mean"] != (self.code,):
            raise Mismatch(
                f"prior '{prior}' works on a code of {self.code} dimensions, but driving encoder "
                f"'{self.driving_name}' predicts {shapes['mean'][0]}"
            )
        return shapes


@dataclass(frozen=True, kw_only=True)
class FlowInputs:
    """Given to a flow: width of the code and of the context (0 for an unconditional flow)."""

    features: int
    context: int = 0


@dataclass(frozen=True, kw_only=True)
class CouplingInputs:
    """Given to a coupling.

    Args:
        features: Width of the code.
        context: Width of the context, 0 for none.
        hidden: Width of the conditioner network.
        blocks: Residual blocks of the conditioner network.
        batch_norm: Whether the conditioner uses batch norm within its layers.
        dropout: Dropout probability of the conditioner.
        flip: Which half is transformed: False the odd features, True the even ones.
    """

    features: int
    context: int = 0
    hidden: int = 1024
    blocks: int = 2
    batch_norm: bool = True
    dropout: float = 0.0
    flip: bool = False


@dataclass(frozen=True, kw_only=True)
class DecoderInputs:
    """Given to a decoder: the code's size, the mesh's vertex count and the texture's shape (3, height, width)."""

    code: int
    vertices: int
    texture: Shape


@dataclass(frozen=True, kw_only=True)
class RendererInputs:
    """Given to a renderer: the device type that it must run on and what it will draw."""

    device: str
    vertices: int
    triangles: int
    texture: Shape


@dataclass(frozen=True, kw_only=True)
class ObjectiveInputs:
    """Given to an objective.

    Args:
        code: Size of the latent code.
        observations: What the capture offers as targets.
        roles: Which of them are the surface, the training views and the scored view.
        landmarks: Number of landmarks in the template, 0 if none.
        has_driving: Whether a driving encoder conditions the prior.
        phase: Whether it is a term of a training stage or of a fit.
    """

    code: int
    observations: Observations
    roles: Roles
    landmarks: int = 0
    has_driving: bool = False
    phase: Literal["training", "fitting"] = "fitting"


@dataclass(frozen=True, kw_only=True)
class MetricInputs:
    """Given to a metric.

    Args:
        code: Size of the latent code.
        observations: What the capture offers as targets.
        roles: Which of them are the surface and the training views.
        view: Observation that pictures are compared in: `evaluation.view`, or the capture's scored view.
        landmarks: Number of landmarks in the template, 0 if none.
    """

    code: int
    observations: Observations
    roles: Roles
    view: str
    landmarks: int = 0
