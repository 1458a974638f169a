"""From a spec to a blueprint: every part planned, and every pair that does not fit told, before anything is built.

Imports no torch: all that is needed are the Configs' `plan` methods.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from lipflow_core.errors import CompatibilityError, LipflowError, PluginError
from lipflow_core.parts import Part
from lipflow_core.plans import (
    CaptureInputs,
    DecoderInputs,
    EncoderInputs,
    Mismatch,
    ObjectiveInputs,
    Observations,
    Plan,
    PriorInputs,
    RendererInputs,
    Shape,
)
from lipflow_core.specs.model import PartName, SameAs, Spec, Stage
from lipflow_core.spelling import did_you_mean

_AXES = {
    "face.vertices": 2,
    "face.texture": 3,
    "keypoints.points": 2,
    "topology.triangles": 2,
    "template.landmarks": 1,
}
"""Axes of the shapes that planning takes apart; pictures have 4, whatever the observation is called."""


@dataclass(frozen=True)
class PlannedPart:
    """One slot of a spec, planned.

    Args:
        slot: Its path in the spec, such as "driving" or "training.stages.1.prior".
        part: The component in it.
        given: What it was planned from and is to be built from.
        plan: What it will be.
    """

    slot: str
    part: Part
    given: Any
    plan: Plan

    def build(self) -> Any:
        """Construct the component."""
        return self.part.build(self.given)

    def __str__(self) -> str:
        return f"{self.part.kind} '{self.part.name}'"


@dataclass(frozen=True, kw_only=True)
class Blueprint:
    """All parts of a model that fit together.

    Args:
        spec: What was planned.
        device: Device type that it was planned for.
        shapes: Shape of each tensor that the capture offers, by "OBSERVATION.TENSOR".
        encoder: Q; equal to `driving` where the spec says `same_as`.
        driving: P, or None.
        prior: The prior of training.
        stage_priors: Training stage's name → its prior, where it names one.
        fitting_prior: The prior while fitting.
        decoder: D.
        renderer: R.
        objectives: Of fitting, in the spec's order.
    """

    spec: Spec
    device: str
    shapes: Mapping[str, Shape]
    encoder: PlannedPart
    driving: PlannedPart | None
    prior: PlannedPart
    stage_priors: Mapping[str, PlannedPart]
    fitting_prior: PlannedPart
    decoder: PlannedPart
    renderer: PlannedPart
    objectives: tuple[PlannedPart, ...]

    def distinct(self) -> Iterator[PlannedPart]:
        """Every part that is built, each once: shared encoders and equal priors are one part."""
        seen: list[PlannedPart] = []
        priors = (self.prior, *self.stage_priors.values(), self.fitting_prior)
        for planned in (self.encoder, self.driving, *priors, self.decoder, self.renderer):
            if planned is not None and not any(planned is other for other in seen):
                seen.append(planned)
                yield planned


def plan(
    spec: Spec,
    *,
    device: str | None = None,
    shapes: Mapping[str, Shape] | None = None,
    given: Mapping[str, Plan] | None = None,
) -> Blueprint:
    """Plan every part of a spec.

    Args:
        spec: The spec.
        device: Device type to plan for; the spec's if None, where "auto" is the first that all parts run on.
        shapes: What the capture offers, by "OBSERVATION.TENSOR", if it is not to be asked.
        given: Slot → plan of a component that was built elsewhere and takes this slot.

    Raises:
        lipflow_core.errors.CompatibilityError: Listing all parts that do not fit, two by two.
    """
    device = device or (None if spec.device == "auto" else spec.device)
    if device is not None:
        return _Planner(spec, device, shapes, given or {}).blueprint()
    try:
        return _Planner(spec, "cpu", shapes, given or {}).blueprint()
    except CompatibilityError as error:
        try:
            return _Planner(spec, "cuda", shapes, given or {}).blueprint()
        except CompatibilityError:
            raise error from None


@dataclass
class _Planner:
    """Walks a spec's slots in the order in which they depend on each other, and notes what does not fit."""

    spec: Spec
    device: str
    shapes: Mapping[str, Shape] | None
    given: Mapping[str, Plan]
    problems: list[tuple[str, str]] = field(default_factory=list)

    def blueprint(self) -> Blueprint:
        spec = self.spec
        if self.shapes is None:
            self.shapes = self._capture_shapes()
        self._check_shapes()
        if self.shapes is None or self.problems:
            raise self._error()
        observations = self.observations = _observations(self.shapes)
        encoding = EncoderInputs(code=spec.code, observations=observations)
        driving = None if spec.driving is None else self._encoder("driving", spec.driving, encoding)
        if isinstance(spec.encoder, SameAs) and "encoder" not in self.given:
            encoder = driving
            if spec.driving is None:
                self._note("encoder", "encoder is the same as driving, but the spec's slot 'driving' is empty")
        else:
            part = spec.driving if isinstance(spec.encoder, SameAs) else spec.encoder
            encoder = self._encoder("encoder", part, encoding)
        priors = self._priors(driving)
        decoder, renderer = self._decoder_and_renderer()
        objectives = self._objectives()
        self._check_training()
        self._check_evaluation()
        used = [encoder, driving, *priors.values(), decoder, renderer, *objectives]
        for planned in {id(item): item for item in used if item is not None}.values():
            self._check_device(planned)
        if self.problems:
            raise self._error()
        _check_installed([planned.part for planned in used if planned is not None])
        return Blueprint(
            spec=spec,
            device=self.device,
            shapes=self.shapes,
            encoder=encoder,
            driving=driving,
            prior=priors["prior"],
            stage_priors={
                stage.name: priors[f"training.stages.{index}.prior"]
                for index, stage in enumerate(spec.training.stages)
                if stage.prior is not None
            },
            fitting_prior=priors["prior" if spec.fitting.prior is None else "fitting.prior"],
            decoder=decoder,
            renderer=renderer,
            objectives=tuple(objectives),
        )

    # The parts.

    def _capture_shapes(self) -> Mapping[str, Shape] | None:
        planned = self._plan("capture", self.spec.capture, CaptureInputs())
        return None if planned is None else planned.plan.outputs

    def _check_shapes(self) -> None:
        """The shapes that the core itself takes apart must have the axes that it expects."""
        for name, shape in (self.shapes or {}).items():
            axes = _AXES.get(name, 4 if name.endswith(".images") else None)
            if axes is not None and len(shape) != axes:
                self._note(
                    "capture",
                    f"capture '{self.spec.capture.name}' offers '{name}' of shape {tuple(shape)}, which should have "
                    f"{axes} axes",
                )

    def _encoder(self, slot: str, part: Part, given: EncoderInputs) -> PlannedPart | None:
        planned = self._plan(slot, part, given)
        if planned is None:
            return None
        for modality in planned.plan.needs:
            if modality not in self.observations:
                self._note(slot, f"{planned} encodes the observation '{modality}', which {self._capture()} lacks")
        for name in ("mean", "log_std"):
            made = planned.plan.outputs.get(name)
            if made != (self.spec.code,):
                self._note(slot, f"{planned} makes a {name} of shape {made}, but the spec's code is {self.spec.code}")
        if len(planned.plan.outputs.get("features", ())) != 1:
            self._note(slot, f"{planned} makes no features (h,), which priors and flows may be conditioned on")
        return planned

    def _priors(self, driving: PlannedPart | None) -> dict[str, PlannedPart]:
        """Each prior by its slot; equal ones are one."""
        spec = self.spec
        slots = {"prior": spec.prior}
        for index, stage in enumerate(spec.training.stages):
            if stage.prior is not None:
                slots[f"training.stages.{index}.prior"] = stage.prior
        if spec.fitting.prior is not None:
            slots["fitting.prior"] = spec.fitting.prior
        if spec.driving is not None and driving is None:
            return {}  # what priors would say depends on an encoder that is itself in question
        given = PriorInputs(
            code=spec.code,
            driving=None if driving is None else driving.plan,
            driving_name=None if driving is None else driving.part.name,
            flow=spec.flow,
        )
        priors: dict[str, PlannedPart] = {}
        refusals: dict[str, str] = {}
        for slot, part in slots.items():
            same = next((planned for planned in priors.values() if planned.part == part), None)
            planned = same or self._prior(slot, part, given, refusals)
            if planned is not None:
                priors[slot] = planned
        if len(priors) == len(slots):
            self._check_flow_is_taken(priors, refusals)
            self._check_driving_is_used(priors, driving)
        return priors

    def _prior(self, slot: str, part: Part, given: PriorInputs, refusals: dict[str, str]) -> PlannedPart | None:
        if given.flow is not None and slot not in self.given:
            # Of several priors only one may take the flow: the others are planned without.
            try:
                return PlannedPart(slot, part, given, _planned(part, given))
            except Mismatch as refusal:
                without = PriorInputs(code=given.code, driving=given.driving, driving_name=given.driving_name)
                try:
                    planned = PlannedPart(slot, part, without, _planned(part, without))
                except Mismatch:
                    self._note(slot, str(refusal))
                    return None
                refusals[slot] = str(refusal)
                return planned
        planned = self._plan(slot, part, given)
        if planned is not None and "driving" in planned.plan.needs and given.driving is None:
            self._note(slot, f"{planned} needs a driving encoder, but the spec's slot 'driving' is empty")
        return planned

    def _check_flow_is_taken(self, priors: Mapping[str, PlannedPart], refusals: Mapping[str, str]) -> None:
        flow = self.spec.flow
        takers = [slot for slot, planned in priors.items() if "flow" in planned.plan.parts or slot in self.given]
        if flow is None or takers:
            return
        cure = "; choose a prior that takes one, or leave the slot 'flow' empty (flow=null)"
        for slot, planned in priors.items():
            if slot in refusals:
                self._note(slot, refusals[slot] + cure)
            elif planned.slot == slot:
                self._note(slot, f"{planned} takes no flow, but the spec names flow '{flow.name}'{cure}")

    def _check_driving_is_used(self, priors: Mapping[str, PlannedPart], driving: PlannedPart | None) -> None:
        shared = isinstance(self.spec.encoder, SameAs) and "encoder" not in self.given
        if driving is None or shared:
            return
        if not any("driving" in planned.plan.needs for planned in priors.values()):
            distinct = {id(planned): f"'{planned.part.name}'" for planned in priors.values()}
            names = " and ".join(distinct.values())
            self._note(
                "driving",
                f"driving encoder '{driving.part.name}' is of no use, since prior {names} takes no driving signal; "
                "choose a prior that does, or leave the slot 'driving' empty (driving=null)",
            )

    def _decoder_and_renderer(self) -> tuple[PlannedPart | None, PlannedPart | None]:
        spec = self.spec
        vertices, texture = self.shapes.get("face.vertices"), self.shapes.get("face.texture")
        if vertices is None or texture is None:
            self._note(
                "decoder",
                f"decoder '{spec.decoder.name}' learns from tracked faces ('face.vertices' and 'face.texture'), which "
                f"{self._capture()} lacks",
            )
            return None, None
        decoder = self._plan(
            "decoder", spec.decoder, DecoderInputs(code=spec.code, vertices=vertices[0], texture=texture)
        )
        for name, wanted in (("vertices", vertices), ("texture", texture)) if decoder else ():
            made = decoder.plan.outputs.get(name)
            if made != wanted:
                self._note("decoder", f"{decoder} makes {name} {made}, but those of {self._capture()} are {wanted}")
        triangles = self.shapes.get("topology.triangles", (0, 3))[0]
        drawing = RendererInputs(device=self.device, vertices=vertices[0], triangles=triangles, texture=texture)
        return decoder, self._plan("renderer", spec.renderer, drawing)

    def _objectives(self) -> list[PlannedPart]:
        spec = self.spec
        given = ObjectiveInputs(
            code=spec.code,
            observations=self.observations,
            landmarks=self.shapes.get("template.landmarks", (0,))[0],
            has_driving=spec.driving is not None,
        )
        found = []
        for index, part in enumerate(spec.fitting.objectives):
            slot = f"fitting.objectives.{index}"
            planned = self._plan(slot, part, given)
            if planned is None:
                continue
            found.append(planned)
            targets = {need.partition(":")[2] for need in planned.plan.needs if ":" in need}
            for target in sorted(targets - self.observations.keys()):
                self._note(slot, f"{planned} needs the observation '{target}', which {self._capture()} lacks")
        return found

    # What the core itself needs.

    def _check_training(self) -> None:
        training = self.spec.training
        pictures = self.observations.get("dome", {}).get("images")
        if pictures is None:
            self._note("training", f"training compares renders with pictures of 'dome', which {self._capture()} lacks")
        elif training.views > pictures[0]:
            self._note(
                "training.views",
                f"training.views is {training.views}, but the dome of capture '{self.spec.capture.name}' has "
                f"{pictures[0]} cameras",
            )
        if self.spec.driving is None:
            for index, stage in enumerate(training.stages):
                if "driving" in stage.train and not _trains_all(stage):
                    self._note(
                        f"training.stages.{index}.train",
                        f"stage '{stage.name}' trains the driving encoder, but the spec's slot 'driving' is empty",
                    )

    def _check_evaluation(self) -> None:
        view = self.spec.evaluation.view
        views = [name for name, tensors in self.observations.items() if "images" in tensors]
        if view not in views:
            meant = did_you_mean(view, views, "; ")
            self._note(
                "evaluation.view",
                f"evaluation compares pictures of '{view}', which {self._capture(views)} lacks{meant}",
            )

    def _check_device(self, planned: PlannedPart) -> None:
        if self.device not in planned.plan.devices:
            runs = " and ".join(planned.plan.devices) or "no device"
            self._note(planned.slot, f"{planned} runs on {runs}, but the spec asks for device '{self.device}'")

    # Planning one part, and noting what does not fit.

    def _plan(self, slot: str, part: Part, given: Any) -> PlannedPart | None:
        if slot in self.given:
            return PlannedPart(slot, part, given, self.given[slot])
        try:
            return PlannedPart(slot, part, given, _planned(part, given))
        except Mismatch as mismatch:
            self._note(slot, str(mismatch))
            return None

    def _capture(self, offered: list[str] | None = None) -> str:
        names = ", ".join(f"'{name}'" for name in (self.observations if offered is None else offered)) or "nothing"
        return f"capture '{self.spec.capture.name}' (it offers {names})"

    def _note(self, slot: str, sentence: str) -> None:
        if (slot, sentence) not in self.problems:
            self.problems.append((slot, sentence))

    def _error(self) -> CompatibilityError:
        lines = []
        for slot, sentence in self.problems:
            path = tuple(int(name) if name.isdecimal() else name for name in slot.split("."))
            origin = next((self.spec.origins[p] for p in _upwards(path) if p in self.spec.origins), None)
            lines.append(": ".join(filter(None, (str(origin or ""), slot, sentence))))
        if len(lines) == 1:
            return CompatibilityError(lines[0])
        return CompatibilityError(f"{len(lines)} parts do not fit:\n" + "\n".join(lines))


def _check_installed(parts: list[Part]) -> None:
    """Raise a PluginError that names every part whose packages are missing, and how to install them."""
    from lipflow_core.registry.discovery import missing_requirements

    lines, cures = [], []
    for part in parts:
        if missing := missing_requirements(part.component.requires):
            verb = "is" if len(missing) == 1 else "are"
            lines.append(f"{part.kind} '{part.name}' needs {', '.join(missing)}, which {verb} not installed")
            cures.append(part.component.install or f"install {', '.join(missing)}")
    if lines:
        raise PluginError("\n".join(dict.fromkeys(lines)), f"Install with: {'; '.join(dict.fromkeys(cures))}")


def _planned(part: Part, given: Any) -> Plan:
    try:
        planned = part.plan(given)
    except (Mismatch, LipflowError):
        raise
    except Exception as error:
        raise PluginError(
            f"{part.kind} '{part.name}' of {part.distribution}: its plan() failed: {type(error).__name__}: {error}",
            "This is a bug of the plugin; `lipflow-core plugins check` may tell more.",
        ) from error
    if not isinstance(planned, Plan):
        raise PluginError(
            f"{part.kind} '{part.name}' of {part.distribution}: its plan() returned {planned!r}, not a Plan"
        )
    return planned


def _observations(shapes: Mapping[str, Shape]) -> Observations:
    found: dict[str, dict[str, Shape]] = {}
    for name, shape in shapes.items():
        observation, _, tensor = name.partition(".")
        if observation not in ("topology", "template"):
            found.setdefault(observation, {})[tensor] = tuple(shape)
    return found


def _trains_all(stage: Stage) -> bool:
    return set(stage.train) == set(get_args(PartName))


def _upwards(path: tuple[str | int, ...]) -> Iterator[tuple[str | int, ...]]:
    for length in range(len(path), -1, -1):
        yield path[:length]
