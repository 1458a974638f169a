"""Components that are wrong on purpose, each in one way that one check of the kit must find.

Nothing here imports torch: the classes are in the modules of their kind, wrong Configs in `configs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import cloud
import lipflow_dam
import lipflow_glow
import lipflow_keypoint
import lipflow_metrics
import lipflow_objectives
import lipflow_optimizers
import lipflow_priors
import lipflow_render
import lipflow_temporal

from lipflow_core.hooks import Component, hookimpl

PLUGINS = (
    cloud,
    lipflow_dam,
    lipflow_glow,
    lipflow_keypoint,
    lipflow_metrics,
    lipflow_objectives,
    lipflow_optimizers,
    lipflow_priors,
    lipflow_render,
    lipflow_temporal,
)


@dataclass(frozen=True)
class Wrong:
    """A wrong component.

    Args:
        right: "KIND/NAME" of the right component that it is made from.
        name: Name of its class in the module of its kind; if there is none, of its Config without "Config".
        check: The check that must find it.
        says: What the check's message says.
        also: Other checks that fail of necessity: check → why.
        config: Whether `configs` has a Config of it.
        implementation: Whether the module of its kind has a class of it.
        module: Where its class or Config is, if not among those of its kind.
    """

    right: str
    name: str
    check: str
    says: str
    also: Mapping[str, str] = field(default_factory=dict)
    config: bool = False
    implementation: bool = True
    module: str | None = None

    @property
    def kind(self) -> str:
        return self.right.partition("/")[0]

    @property
    def spelling(self) -> str:
        """Its name in the registry."""
        return re.sub(r"(?<!^)(?=[A-Z])", "-", self.name).lower()

    def component(self, right: Component) -> Component:
        changes: dict[str, Any] = {"name": self.spelling, "aliases": ()}
        if self.implementation:
            changes["implementation"] = f"wrong.{self.module or f'{self.kind}s'}:{self.name}"
        if self.config:
            changes["config"] = f"wrong.{self.module or 'configs'}:{self.name}Config"
        return replace(right, **changes)


def configured(*arguments: Any, **options: Any) -> Wrong:
    """One whose Config alone is wrong."""
    return Wrong(*arguments, config=True, implementation=False, **options)


AN_INVERSE = "asks for the inverse too"
NOT_ASKED = "can't be asked without what the plan keeps back"

EVERY_KIND = [
    Wrong("coupling/additive", "NoCoupling", "classes are of their contract", "NoCoupling must derive from Coupling"),
    configured("coupling/additive", "Heavy", "Config imports no torch", "imports torch", module="heavy"),
    configured("coupling/additive", "NoSuchPreset", "presets are valid", "'large' sets options that do not exist"),
    configured("coupling/additive", "Rounded", "options round-trip through a spec", "factor=0.33"),
    configured("coupling/additive", "Tolerant", "unknown options are refused", "accepts an option that does not exist"),
    configured("coupling/additive", "Whimsical", "plan is repeatable", "gives two plans"),
    Wrong(
        "coupling/additive",
        "Trespassing",
        "the plugin API is kept",
        "trespassing.py:15 imports lipflow_core.registry",
        module="trespassing",
    ),
]

MODULES = [
    Wrong("coupling/additive", "Unseeded", "same seed, same component", "differs between two builds from one seed"),
    Wrong("coupling/additive", "Global", "global randomness is untouched", "draws from torch's global generator"),
    Wrong("coupling/additive", "Unsaved", "saving and loading changes nothing", "differs after saving and loading"),
    Wrong("decoder/dam", "Single", "works in float64", "texture is torch.float32 for float64 inputs"),
    Wrong("coupling/additive", "NeverEmpty", "works for batches of 0 and 1", "no codes"),
    Wrong("coupling/additive", "Leaking", "rows are independent in evaluation", "depends on the others of its batch"),
    Wrong("decoder/dam", "Misfolded", "frozen, it gives the same", "changes when the model is frozen for a fit"),
    Wrong("decoder/dam", "StaysFolded", "frozen, it gives the same", "is not what it was before"),
    Wrong(
        "coupling/additive",
        "Untrainable",
        "works in training mode",
        "is not finite in training mode",
        also={"gradients reach every parameter": "asks in training mode"},
    ),
    Wrong("coupling/additive", "Backwards", "forward mode agrees with reverse mode", "does not go through it"),
    Wrong("coupling/additive", "Idle", "gradients reach every parameter", "no gradient reaches parameter 'unused'"),
]

ENCODERS = [
    configured("encoder/keypoint", "TwoModalities", "plan agrees with reality", "needs one observation"),
    Wrong("encoder/keypoint", "Spread", "the Gaussian is usable from the start", "out of any sensible range"),
    Wrong("encoder/keypoint", "Blind", "input is checked", "encoding None does not fail"),
    Wrong("encoder/keypoint", "Global", "augmentation follows its random streams", "numpy's global generator"),
    Wrong("encoder/keypoint", "Constant", "augmentation follows its random streams", "gives the same result"),
    Wrong(
        "encoder/keypoint",
        "FirstStream",
        "augmentation of a sample does not depend on others",
        "depends on its place among others",
    ),
    Wrong("encoder/keypoint", "InPlace", "augmentation keeps its input, types and shapes", "in place"),
    Wrong("encoder/keypoint", "Double", "augmentation keeps its input, types and shapes", "the type of points"),
]

PRIORS = [
    Wrong("prior/standard-normal", "Unlike", "log_prob agrees with the conditioned prior's", "log_prob is not that of"),
    Wrong(
        "prior/standard-normal",
        "HalfGradient",
        "log_prob's gradient agrees with finite differences",
        "the gradient of fitting_log_prob is not its slope",
    ),
    Wrong("prior/kl", "AllRows", "rows can be chosen", "must match"),
    Wrong("prior/standard-normal", "NeverNone", "mode and samples have their shapes", "no samples"),
    Wrong("prior/standard-normal", "Global", "samples depend on the seed alone", "torch's global generator"),
    Wrong("prior/standard-normal", "Wide", "samples follow the density", "samples do not follow the density"),
    Wrong("prior/standard-normal", "Shifted", "base space leads back to the code", "from_base does not lead back"),
    Wrong("prior/standard-normal", "TooMuch", "the density integrates to one", "not to 1"),
    Wrong("prior/standard-normal", "NoSpread", "divergence reaches Q's mean and spread", "no gradient reaches Q's"),
    Wrong("prior/standard-normal", "Forgetful", "initialization is stable", "still not initialized"),
    Wrong("prior/kl", "Undriven", "a missing driving signal is refused", "takes None without an error"),
    Wrong("prior/standard-normal", "Lookalike", "the conditioned prior is of its contract", "a ConditionedPrior"),
]

COUPLINGS = [
    Wrong("coupling/affine", "WrongSign", "inverse undoes forward", "log|det| of the inverse is not that of forward"),
    Wrong("coupling/affine", "MeanLogDet", "log|det| agrees with autograd's Jacobian", "not that of autograd's"),
    configured("coupling/affine", "ConstantVolume", "volume is as planned", "its plan says volume_preserving"),
    Wrong("coupling/additive", "Deaf", "the context matters", "the context changes nothing"),
    Wrong("coupling/additive", "Conditional", "works without context", "no context"),
    Wrong("coupling/additive", "Even", "works for 2 and for 5 features", "an even number of features"),
    configured("coupling/additive", "OneWay", "the plan says that it is invertible", "must say invertible=True"),
    Wrong("coupling/spline", "Cancelling", "large weights and far codes are survived", "not finite for"),
]

FLOWS = [
    Wrong("flow/glow", "OtherLogDet", "the conditioned flow agrees, gradient included", "it has another log|det|"),
    Wrong("flow/glow", "AllRows", "rows of the conditioned flow can be chosen", "rows([3, 1, 1])"),
    Wrong("flow/glow", "Forgetful", "initialization from data is stable", "still not initialized"),
    Wrong("flow/glow", "Hasty", "an inverse initializes nothing", "initialized the flow silently"),
    Wrong("flow/glow", "Careless", "the context is checked", "a wrong context is taken without an error"),
]

DECODERS = [
    Wrong("decoder/dam", "NeverBlind", "shapes for 0, 1 and 3 views", "no views"),
    Wrong("decoder/dam", "OtherMesh", "geometry agrees with decode", "geometry() makes other vertices"),
    Wrong("decoder/dam", "Blended", "views are independent", "depends on the other views"),
    Wrong("decoder/dam", "Shifted", "tiles are parts of the texture", "tiles differ from these parts"),
    Wrong("decoder/dam", "Mute", "the code matters", "does not move a vertex"),
    Wrong("decoder/dam", "Distant", "starts near the mean face", "standard deviations off the mean"),
    configured("decoder/dam", "OneMore", "plan agrees with reality", "its plan says vertices (43, 3)"),
]

RENDERERS = [
    Wrong("renderer/torch", "Unweighted", "a square covers its pixels", "barycentric weights do not add up"),
    Wrong("renderer/torch", "UpsideDown", "texture rows run top-down", "the picture is not the texture"),
    Wrong("renderer/torch", "Farthest", "the nearer one is seen", "depth is not that of the nearer one"),
    Wrong("renderer/torch", "Black", "the background shows where nothing is", "is not the background"),
    Wrong("renderer/torch", "OneEach", "shared texture and camera broadcast", "a texture for each sample"),
    Wrong("renderer/torch", "NeverEmpty", "empty pictures and batches", "no samples"),
    Wrong("renderer/torch", "Drifting", "repeatable", "the same is drawn in two ways"),
    Wrong("renderer/torch", "HalfTexture", "the texture's gradient is exact", "linear in the texture"),
    Wrong("renderer/torch", "NoSilhouettes", "silhouettes move with the vertices", "the gradient says 0.00"),
    Wrong(
        "renderer/torch",
        "Fragile",
        "gradients are finite, also of flat meshes",
        "of vertices is not finite",
    ),
    configured("renderer/torch", "AnyDevice", "devices that it does not run on are refused", "accepts device 'cuda'"),
]

TERMS = [
    Wrong("objective/geometry", "NeverEmpty", "one value for each sample", "no samples"),
    Wrong(
        "objective/geometry",
        "Leaking",
        "samples are independent",
        "depends on the others of its batch",
        also={"residuals have the loss's gradient": "only the loss leaks"},
    ),
    Wrong(
        "objective/geometry",
        "Opportunist",
        "it uses what its plan needs, and nothing else",
        "depends on something that its plan's needs",
    ),
    configured(
        "objective/geometry",
        "Secretive",
        "it uses what its plan needs, and nothing else",
        "uses something that its plan's needs, ('vertices',), do not name: KeyError",
        also=dict.fromkeys(
            (
                "one value for each sample",
                "samples are independent",
                "works in float32",
                "nothing is random",
                "gradients reach what its plan needs, and nothing else",
                "the weight is left to the core",
                "residuals have the loss's gradient",
            ),
            NOT_ASKED,
        ),
    ),
    configured(
        "objective/geometry",
        "Greedy",
        "it uses what its plan needs, and nothing else",
        "its plan needs 'render:dome', but it does not use that",
        also={"gradients reach what its plan needs, and nothing else": "no gradient reaches what is not used"},
    ),
    Wrong("objective/geometry", "Double", "works in float32", "torch.float64 for float32 inputs"),
    Wrong("metric/geom", "Global", "nothing is random", "draws from torch's global generator"),
]

OBJECTIVES = [
    Wrong(
        "objective/photometric",
        "Sideways",
        "gradients reach what its plan needs, and nothing else",
        "a gradient reaches 'vertices', which its plan's needs do not name",
    ),
    Wrong("objective/geometry", "Weighing", "the weight is left to the core", "already multiplied by its weight"),
    Wrong("objective/geometry", "Halved", "residuals have the loss's gradient", "another gradient than the loss"),
]

OPTIMIZERS = [
    Wrong(
        "optimizer/adam",
        "Still",
        "it lowers the loss",
        "of the rows' losses are left",
        also={
            "a gradient that is not finite is survived": "asks for a lower loss too",
            "coupled rows are minimised as planned": "asks for a lower loss too",
        },
    ),
    Wrong(
        "optimizer/adam",
        "Coupled",
        "rows are independent",
        "depends on the others of its batch",
        also=dict.fromkeys(
            (
                "rows join and leave a batch",
                "a row that is not finite leaves others alone",
                "learning rates of rows count",
            ),
            "compares a row with itself among others",
        ),
    ),
    Wrong("optimizer/adam", "Counting", "rows join and leave a batch", "goes another way"),
    Wrong("optimizer/adam", "Panicking", "a row that is not finite leaves others alone", "is NaN changes others"),
    Wrong("optimizer/adam", "Dividing", "a gradient that is not finite is survived", "parameters are not finite"),
    Wrong("optimizer/adam", "Double", "types are kept", "it makes torch.float64 of torch.float32"),
    Wrong("optimizer/adam", "NeverEmpty", "works for 0 rows and for 1", "no rows"),
    Wrong("optimizer/adam", "Global", "nothing is random", "torch's global generator"),
    Wrong("optimizer/adam", "InPlace", "arguments are left as they are", "changes the parameters in place"),
    Wrong("optimizer/adam", "Deaf", "learning rates of rows count", "own learning rate is not used"),
    Wrong("optimizer/adam", "Sociable", "convergence is told row by row", "depends on its batch"),
    configured("optimizer/lbfgs", "Confident", "coupled rows are minimised as planned", "coupled_rows=True, but after"),
    Wrong("optimizer/adam", "Curious", "curvature is asked for as planned", "its plan's needs must name"),
]

TEMPORALS = [
    Wrong("temporal/random-walk", "NeverEmpty", "one share of the energy for each frame", "no frames"),
    Wrong(
        "temporal/random-walk",
        "Borderless",
        "runs are independent",
        "depends on other runs",
        also={"a run that is not finite leaves others alone": "reaches over borders"},
    ),
    Wrong(
        "temporal/random-walk", "Zeroing", "a run that is not finite leaves others alone", "the energy of others NaN"
    ),
    Wrong("temporal/random-walk", "Restless", "a still run is likelier than a jittery one", "stays at zero is"),
    Wrong("temporal/random-walk", "Single", "frames of a run are coupled", "does not depend on the frames beside it"),
    Wrong(
        "temporal/random-walk",
        "HalfGradient",
        "the gradient agrees with finite differences",
        "its gradient is not its slope",
        also={"frames of a run are coupled": "the frame before feels nothing"},
    ),
    Wrong("temporal/random-walk", "Double", "types are kept", "it makes torch.float64 of torch.float32"),
    Wrong("temporal/random-walk", "Global", "nothing is random", "draws from torch's global generator"),
    Wrong("temporal/random-walk", "InPlace", "arguments are left as they are", "changes the path in place"),
    Wrong("temporal/random-walk", "Weighted", "the weight is left to the core", "already multiplied"),
    configured("temporal/random-walk", "Demanding", "its needs are known", "its plan needs vertices"),
]

METRICS = [
    configured("metric/geom", "Nameless", "the class variables of its Config are complete", "heading is empty"),
    Wrong("metric/geom", "Hopeful", "it needs nothing of the prior", "its plan needs prior", config=True),
    Wrong("metric/geom", "Polite", "NaN where nothing can be scored, and nowhere else", "must be NaN, it is 0.0"),
    Wrong(
        "metric/keypoint-error",
        "Certain",
        "NaN where nothing can be scored, and nowhere else",
        "where keypoints show nothing, the score must be NaN",
    ),
    configured("metric/psnr", "Reversed", "the truth scores best, in the direction that its Config says", "lower is"),
]

CAPTURES = [
    configured("capture/cloud", "Misplaced", "its roles are filled", "'skin', must be a Views, it is a FaceState"),
    Wrong("capture/cloud", "Shared", "both splits have frames and share none", "the splits share 12 frames"),
    Wrong("capture/cloud", "AnySplit", "unknown splits are refused", "raises no CaptureError"),
    configured("capture/cloud", "Boastful", "plan agrees with reality", "its plan says (8, 3)"),
    Wrong("capture/cloud", "Bright", "frames are sound", "must lie in [0, 1]"),
    Wrong(
        "capture/cloud",
        "Noisy",
        "loading is repeatable",
        "differs between two loads",
        also={"frames come in the order asked for": "compares two loads"},
    ),
    Wrong("capture/cloud", "Sorted", "frames come in the order asked for", "is not that of 0 and 1 turned round"),
    Wrong("capture/cloud", "WrongScale", "the template fits the frames", "standard deviations off its mean"),
    Wrong("capture/cloud", "Nameless", "the identity is stable", "differs between two builds"),
]

WRONG: list[Wrong] = [
    *EVERY_KIND,
    *MODULES,
    *ENCODERS,
    *PRIORS,
    *COUPLINGS,
    *FLOWS,
    *DECODERS,
    *RENDERERS,
    *TERMS,
    *OBJECTIVES,
    *OPTIMIZERS,
    *TEMPORALS,
    *METRICS,
    *CAPTURES,
]


@hookimpl
def lipflow_components() -> Iterator[Component]:
    right: dict[str, Component] = {}
    for plugin in PLUGINS:
        offered: Iterable[Component] = plugin.lipflow_components()
        right |= {f"{component.kind}/{component.name}": component for component in offered}
    for wrong in WRONG:
        yield wrong.component(right[wrong.right])
