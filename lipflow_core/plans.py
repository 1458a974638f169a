"""Inputs and plans of components, in plain Python: they tell which parts fit together before anything is built.

Each component's Config has a method `plan(given)`. It takes the inputs of its kind (below) and returns a `Plan`, or
raises `Mismatch` with a sentence that names the two parts that don't fit, and why. The component's constructor then
takes the same inputs: `Implementation(config, given)`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

Shape = tuple[int, ...]
"""Shape of one sample, without the batch axis."""

Observations = Mapping[str, Mapping[str, Shape]]
"""Observation's name → tensor's name → shape without batch axis, such as
`{"markers": {"points": (24, 2), "visible": (24,)}}`. The capture chooses the names of its observations."""


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Names of the observations that the core itself uses, by the role they play.

    Args:
        surface: `FaceState` that the model learns: tracked vertices and average texture. The decoder makes tensors of
            its shapes, encoders see it standardised, and geometry is compared with it.
        training_views: `Views` of the calibrated cameras that training compares renderings with; `Split.cameras` names
            these cameras.
        scored_view: `Views` that scores compare pictures in, unless `evaluation.view` names another observation.
    """

    surface: str
    training_views: str
    scored_view: str


class Mismatch(Exception):
    """Raised by `Config.plan` if two parts do not fit together; the message names both."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Describes a component before it is built.

    Args:
        inputs: Input's name → shape, without batch axis.
        outputs: Output's name → shape, without batch axis.
        devices: Device types that it runs on.
        invertible: Whether it has an inverse (flows, couplings).
        volume_preserving: Whether its log|det| depends on neither code nor context (flows, couplings).
        needs: Names of further things that it needs. An encoder names its modality, an objective or metric the
            observations that it compares with.
        parts: Plans of the components nested in it, by the option's name.
        roles: Roles of the capture's observations (captures).
        divergence_weight: Weight of the prior's divergence in training if the spec gives none (priors).
        base_space: Whether its density has a base space, `to_base` and `from_base` (priors).
        residuals: Whether its loss is a sum of squares, whose `residuals` it gives (objectives).
        coupled_rows: Whether it may be given rows whose losses depend on each other (optimizers).
    """

    inputs: Mapping[str, Shape] = field(default_factory=dict)
    outputs: Mapping[str, Shape] = field(default_factory=dict)
    devices: tuple[str, ...] = ("cpu", "cuda")
    invertible: bool = False
    volume_preserving: bool = False
    needs: tuple[str, ...] = ()
    parts: Mapping[str, Plan] = field(default_factory=dict)
    roles: Roles | None = None
    divergence_weight: float = 0.01
    base_space: bool = False
    residuals: bool = False
    coupled_rows: bool = False

    @property
    def observations(self) -> Observations:
        """Shapes of a capture's outputs by observation and tensor, those of topology and template left out."""
        found: dict[str, dict[str, Shape]] = {}
        for name, shape in self.outputs.items():
            observation, _, tensor = name.partition(".")
            if observation not in ("topology", "template"):
                found.setdefault(observation, {})[tensor] = tuple(shape)
        return found

    @property
    def regions(self) -> tuple[str, ...]:
        """Names of the regions of a capture's template, from its outputs "template.regions.NAME"."""
        prefix = "template.regions."
        return tuple(name.removeprefix(prefix) for name in self.outputs if name.startswith(prefix))


@dataclass(frozen=True)
class Needs:
    """Lists what has to be computed for some objectives or metrics, from the `needs` of their plans.

    Args:
        rendered: Observations whose cameras render the decoded codes, from "render:NAME".
        targets: Observations to load and compare with, from "render:NAME" and "target:NAME".
        vertices: Whether decoded vertices are needed.
        prior: Whether the conditioned prior is needed.
        divergence: Whether the prior's divergence from the posterior is needed.
        neighbours: Whether the decoded vertices of the frames before and after are needed.
        pose: Whether the error of the driving cameras' pose is needed.
        regions: Pairs (observation, region), from "region:NAME:REGION": the masks of these pictures are restricted to
            these regions of the tracked surface.
    """

    rendered: tuple[str, ...]
    targets: tuple[str, ...]
    vertices: bool
    prior: bool
    divergence: bool
    neighbours: bool
    pose: bool
    regions: tuple[tuple[str, str], ...]

    @classmethod
    def of(cls, plans: Iterable[Plan]) -> Needs:
        """Unite the needs of several plans."""
        needs = [need for plan in plans for need in plan.needs]
        rendered = dict.fromkeys(need.removeprefix("render:") for need in needs if need.startswith("render:"))
        targets = dict.fromkeys(need.removeprefix("target:") for need in needs if need.startswith("target:"))
        regions = dict.fromkeys(need.removeprefix("region:") for need in needs if need.startswith("region:"))
        return cls(
            rendered=tuple(rendered),
            targets=tuple(rendered | targets),
            vertices="vertices" in needs,
            prior="prior" in needs,
            divergence="divergence" in needs,
            neighbours="neighbours" in needs,
            pose="pose" in needs,
            regions=tuple((name, region) for name, _, region in (each.rpartition(":") for each in regions)),
        )

    @property
    def face(self) -> bool:
        """Whether codes have to be decoded."""
        return self.vertices or bool(self.rendered)


@dataclass(frozen=True, kw_only=True)
class CaptureInputs:
    """Inputs of a capture; empty so far."""


@dataclass(frozen=True, kw_only=True)
class EncoderInputs:
    """Inputs of an encoder: the code's size, the capture's observations and their roles."""

    code: int
    observations: Observations
    roles: Roles


class NamedComponent(Protocol):
    """A component that a spec names, with its options; see `lipflow_core.parts.Part`."""

    @property
    def name(self) -> str:
        """Name of the component, as the spec spells it."""

    def plan(self, given: Any) -> Plan:
        """Plan the component for the inputs of its kind; raise `Mismatch` if it does not fit them."""

    def build(self, given: Any) -> Any:
        """Build the component for the inputs that it was planned for."""


@dataclass(frozen=True, kw_only=True)
class PriorInputs:
    """Inputs of a prior.

    Args:
        code: Size of the latent code.
        driving: Plan of the driving encoder, with outputs "mean" (code,), "log_std" (code,) and "features" (h,); None
            if the spec has no driving encoder.
        driving_name: Name of the driving encoder, for messages.
        flow: Flow of the spec, which the prior plans and builds with `FlowInputs`; None if the spec has no flow.
    """

    code: int
    driving: Plan | None = None
    driving_name: str | None = None
    flow: NamedComponent | None = None

    def driving_shapes(self, prior: str) -> dict[str, Shape]:
        """Return the shapes of the driving encoding, "mean", "log_std" and "features", for a prior that needs it.

        Args:
            prior: Name of the prior, for messages.

        Raises:
            Mismatch: If there is no driving encoder, or its code has another size.
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

    def refuse_flow(self, prior: str) -> None:
        """Check, for a prior that uses no flow, that the spec has none.

        Args:
            prior: Name of the prior, for messages.

        Raises:
            Mismatch: If the spec has a flow.
        """
        if self.flow is not None:
            raise Mismatch(f"prior '{prior}' takes no flow but the spec names flow '{self.flow.name}'; set flow=null")


@dataclass(frozen=True, kw_only=True)
class FlowInputs:
    """Inputs of a flow: width of the code, and width of the context, 0 for an unconditional flow."""

    features: int
    context: int = 0


@dataclass(frozen=True, kw_only=True)
class CouplingInputs:
    """Inputs of a coupling.

    Args:
        features: Width of the code.
        context: Width of the context; 0 for an unconditional coupling.
        hidden: Width of the conditioner network.
        blocks: Number of residual blocks of the conditioner network.
        batch_norm: Whether the conditioner uses batch norm within its layers.
        dropout: Dropout probability of the conditioner.
        flip: Whether the even features are transformed; False transforms the odd ones.
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
    """Inputs of a decoder: the code's size, the mesh's vertex count and the texture's shape (3, height, width)."""

    code: int
    vertices: int
    texture: Shape


@dataclass(frozen=True, kw_only=True)
class RendererInputs:
    """Inputs of a renderer: its device type, numbers of vertices and triangles, texture shape (3, height, width)."""

    device: str
    vertices: int
    triangles: int
    texture: Shape


@dataclass(frozen=True, kw_only=True)
class ObjectiveInputs:
    """Inputs of an objective.

    Args:
        code: Size of the latent code.
        observations: Observations that the capture offers as targets.
        roles: Roles of these observations.
        view: Observation whose pictures are compared if its options name none: the training views in training. None in
            fitting, where such an objective must be told, since a fit to the training views is rarely meant.
        landmarks: Number of landmarks in the template; 0 if it has none.
    """

    code: int
    observations: Observations
    roles: Roles
    view: str | None = None
    landmarks: int = 0


@dataclass(frozen=True, kw_only=True)
class OptimizerInputs:
    """Inputs of an optimizer: numbers of parameters of the code, and of the pose, 0 if it is not fitted."""

    code: int
    pose: int = 0


@dataclass(frozen=True, kw_only=True)
class TemporalInputs:
    """Inputs of a temporal prior: size of the latent code, and of the prior's base space, which is the same."""

    code: int


@dataclass(frozen=True, kw_only=True)
class MetricInputs:
    """Inputs of a metric.

    Args:
        code: Size of the latent code.
        observations: Observations that the capture offers as targets.
        roles: Roles of these observations.
        view: Observation whose pictures are compared: `evaluation.view`, or the capture's scored view.
        landmarks: Number of landmarks in the template; 0 if it has none.
    """

    code: int
    observations: Observations
    roles: Roles
    view: str
    landmarks: int = 0
