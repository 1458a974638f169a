"""`plan`, which walks a spec's slots in the order in which they depend on each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import get_args

from lipflow_core.config import Ramp
from lipflow_core.errors import CompatibilityError
from lipflow_core.parts import Part
from lipflow_core.planning.blueprint import Blueprint, PlannedPart
from lipflow_core.planning.findings import Findings, check_installed
from lipflow_core.planning.fitting import FittingCheck
from lipflow_core.planning.priors import plan_priors
from lipflow_core.plans import (
    CaptureInputs,
    DecoderInputs,
    EncoderInputs,
    MetricInputs,
    Needs,
    ObjectiveInputs,
    Plan,
    RendererInputs,
    TemporalInputs,
)
from lipflow_core.specs.model import PartName, SameAs, Spec
from lipflow_core.spelling import did_you_mean

_AXES = {"vertices": 2, "texture": 3, "images": 4, "mask": 3, "points": 2}
"""Tensor's name → number of axes, for the tensors of an observation that the core itself uses."""
_TEMPLATE_AXES = {"topology.triangles": 2, "template.landmarks": 1}


def plan(
    spec: Spec,
    *,
    devices: Sequence[str] = ("cpu", "cuda"),
    capture: Plan | None = None,
    given: Mapping[str, Plan] | None = None,
) -> Blueprint:
    """Plan every part of a spec, and choose the device type.

    Args:
        spec: The spec.
        devices: Device types to choose from if the spec says "auto"; the first one that all parts run on is taken.
        capture: Plan of the capture; made by the capture's Config if None.
        given: Slot → plan of a component that was built elsewhere and replaces the one in this slot.

    Raises:
        lipflow_core.errors.CompatibilityError: If parts do not fit together, listing every pair.
        lipflow_core.errors.PluginError: If a part's package is not installed, or its `plan` fails.
    """
    first: CompatibilityError | None = None
    for device in devices if spec.device == "auto" else (spec.device,):
        try:
            return _Walk(spec, device, capture, given or {}).blueprint()
        except CompatibilityError as error:
            first = first or error
    assert first is not None  # there is at least one device
    raise first


class _Walk:
    def __init__(self, spec: Spec, device: str, capture: Plan | None, given: Mapping[str, Plan]):
        self.spec = spec
        self.device = device
        self.findings = Findings(spec, given)
        self.capture = self._capture(capture)
        self.observations = self.capture.observations
        self.roles = self.capture.roles

    def blueprint(self) -> Blueprint:
        spec = self.spec
        driving, encoder = self._encoders()
        priors = plan_priors(spec, driving, self.findings)
        decoder, renderer = self._decoder_and_renderer()
        stages = self._stage_objectives(priors)
        objectives = self._objectives("fitting.objectives", spec.fitting.objectives, "fitting")
        optimizer = self.findings.plan(
            "fitting.optimizer", spec.fitting.optimizer, spec.fitting.optimizer_inputs(spec.code)
        )
        temporal = None
        if spec.fitting.temporal is not None:
            temporal = self.findings.plan("fitting.temporal", spec.fitting.temporal, TemporalInputs(code=spec.code))
        self._check_training(stages)
        view = spec.evaluation.view or self.roles.scored_view
        metrics = self._metrics(view)
        prior = priors.get("prior" if spec.fitting.prior is None else "fitting.prior")
        FittingCheck(self.findings, objectives, optimizer, temporal, prior, driving, self.roles.surface, metrics).run()
        terms = [*objectives, *metrics, *(planned for stage in stages.values() for planned in stage)]
        used = [encoder, driving, *priors.values(), decoder, renderer, optimizer, temporal, *terms]
        for planned in (*priors.values(), decoder):
            self._check_code(planned)
        for planned in {id(item): item for item in used if item is not None}.values():
            self._check_device(planned)
            self._check_given(planned, driving)
        if self.findings.problems:
            raise self.findings.error()
        check_installed([planned.part for planned in used if planned is not None])
        return Blueprint(
            spec=spec,
            device=self.device,
            capture=self.capture,
            encoder=encoder,
            driving=driving,
            prior=priors["prior"],
            stage_priors={
                stage.name: priors[f"training.stages.{index}.prior"]
                for index, stage in enumerate(spec.training.stages)
                if stage.prior is not None
            },
            fitting_prior=prior,
            decoder=decoder,
            renderer=renderer,
            stage_objectives=stages,
            objectives=objectives,
            optimizer=optimizer,
            temporal=temporal,
            metrics=metrics,
            view=view,
        )

    def _capture(self, capture: Plan | None) -> Plan:
        """Return the capture's plan after checking its roles, and the axes of the tensors that the core uses."""
        findings, name = self.findings, self.spec.capture.name
        if capture is None:
            planned = findings.plan("capture", self.spec.capture, CaptureInputs())
            if planned is None:
                raise findings.error()
            capture = planned.plan
        for label, shape in capture.outputs.items():
            axes = _TEMPLATE_AXES.get(label, _AXES.get(label.partition(".")[2]))
            if axes is not None and len(shape) != axes:
                findings.note(
                    "capture",
                    f"capture '{name}' offers '{label}' of shape {tuple(shape)}, which should have {axes} axes",
                )
        for region in capture.regions:
            if not region or set(region) & set(".:"):
                findings.note("capture", f"capture '{name}' names a region '{region}'; names have no '.' and no ':'")
        roles, offered = capture.roles, capture.observations
        if roles is None:
            findings.note("capture", f"the plan of capture '{name}' has no roles; its Config must give Plan(roles=…)")
        else:
            for role, tensors in {
                "surface": ("vertices", "texture"),
                "training_views": ("images", "mask"),
                "scored_view": ("images", "mask"),
            }.items():
                observation = getattr(roles, role)
                if missing := [tensor for tensor in tensors if tensor not in offered.get(observation, {})]:
                    findings.note(
                        "capture",
                        f"capture '{name}' names '{observation}' as its {role}, but offers no "
                        f"{' and '.join(f'{observation}.{tensor}' for tensor in missing)}",
                    )
        if findings.problems:
            raise findings.error()
        return capture

    # The parts.

    def _encoders(self) -> tuple[PlannedPart | None, PlannedPart | None]:
        spec = self.spec
        given = EncoderInputs(code=spec.code, observations=self.observations, roles=self.roles)
        driving = None if spec.driving is None else self._encoder("driving", spec.driving, given)
        if isinstance(spec.encoder, SameAs) and "encoder" not in self.findings.given:
            if spec.driving is None:
                self._note("encoder", "encoder is the same as driving, but the spec's slot 'driving' is empty")
            return driving, driving
        part = spec.driving if isinstance(spec.encoder, SameAs) else spec.encoder
        return driving, self._encoder("encoder", part, given)

    def _encoder(self, slot: str, part: Part, given: EncoderInputs) -> PlannedPart | None:
        planned = self.findings.plan(slot, part, given)
        if planned is None:
            return None
        for modality in planned.plan.needs:
            if modality not in self.observations:
                self._note(slot, f"{planned} encodes the observation '{modality}', which {self._offer()} lacks")
        for name in ("mean", "log_std"):
            made = planned.plan.outputs.get(name)
            if made != (self.spec.code,):
                self._note(slot, f"{planned} makes a {name} of shape {made}, but the spec's code is {self.spec.code}")
        if len(planned.plan.outputs.get("features", ())) != 1:
            self._note(slot, f"{planned} makes no features (h,), which priors and flows may be conditioned on")
        return planned

    def _decoder_and_renderer(self) -> tuple[PlannedPart | None, PlannedPart | None]:
        spec, surface = self.spec, self.observations[self.roles.surface]
        vertices, texture = surface["vertices"], surface["texture"]
        given = DecoderInputs(code=spec.code, vertices=vertices[0], texture=texture)
        decoder = self.findings.plan("decoder", spec.decoder, given)
        for name, wanted in (("vertices", vertices), ("texture", texture)) if decoder else ():
            made = decoder.plan.outputs.get(name)
            if made != wanted:
                self._note("decoder", f"{decoder} makes {name} {made}, but those of {self._offer()} are {wanted}")
        triangles = self.capture.outputs.get("topology.triangles", (0, 3))[0]
        drawing = RendererInputs(device=self.device, vertices=vertices[0], triangles=triangles, texture=texture)
        return decoder, self.findings.plan("renderer", spec.renderer, drawing)

    def _stage_objectives(self, priors: Mapping[str, PlannedPart]) -> dict[str, tuple[PlannedPart, ...]]:
        """Plan each stage's objectives; a divergence without a weight takes the weight that the prior recommends."""
        stages = {}
        for index, stage in enumerate(self.spec.training.stages):
            prior = priors.get("prior" if stage.prior is None else f"training.stages.{index}.prior")
            planned = self._objectives(f"training.stages.{index}.objectives", stage.objectives, "training")
            stages[stage.name] = tuple(term if prior is None else _weighted(term, prior) for term in planned)
        return stages

    def _objectives(self, slot: str, parts: Sequence[Part], phase: str) -> tuple[PlannedPart, ...]:
        given = ObjectiveInputs(
            code=self.spec.code,
            observations=self.observations,
            roles=self.roles,
            view=self.roles.training_views if phase == "training" else None,
            landmarks=self._landmarks,
        )
        planned = self._terms(slot, parts, given)
        for term in planned:
            needs = set(term.plan.needs)
            if phase == "fitting" and needs & {"posterior", "divergence"}:
                self._note(
                    term.slot,
                    f"{term} needs Q's posterior, which only training has; in fitting name an objective of the code, "
                    "such as one that asks the prior for its likelihood",
                )
            if phase == "training" and Needs.of([term.plan]).regions:
                self._note(
                    term.slot, f"{term} is restricted to regions of the surface, which is for fitting; leave them out"
                )
            if needs & {"neighbours", "pose"}:
                self._note(
                    term.slot,
                    f"{term} needs the frames before and after, or the error of the pose, which only metrics get",
                )
            if phase == "training" and "prior" in needs:
                self._note(
                    term.slot,
                    f"{term} needs the prior's likelihood of a code, which only fitting computes; in training name an "
                    "objective such as the posterior's divergence from the prior",
                )
            if phase == "fitting" and isinstance(term.part.config.weight, Ramp):
                self._note(term.slot, f"{term} has a ramped weight, which is for training; give fitting one number")
        return planned

    def _metrics(self, view: str) -> tuple[PlannedPart, ...]:
        views = [name for name, tensors in self.observations.items() if "images" in tensors]
        if view not in views:
            meant = did_you_mean(view, views, "; ")
            self._note(
                "evaluation.view", f"evaluation compares pictures of '{view}', which {self._offer(views)} lacks{meant}"
            )
            return ()
        given = MetricInputs(
            code=self.spec.code,
            observations=self.observations,
            roles=self.roles,
            view=view,
            landmarks=self._landmarks,
        )
        return self._terms("evaluation.metrics", self.spec.evaluation.metrics, given)

    def _terms(
        self, slot: str, parts: Sequence[Part], given: ObjectiveInputs | MetricInputs
    ) -> tuple[PlannedPart, ...]:
        """Plan objectives or metrics, and note observations that the capture lacks."""
        found = []
        for index, part in enumerate(parts):
            planned = self.findings.plan(f"{slot}.{index}", part, given)
            if planned is None:
                continue
            found.append(planned)
            needs = Needs.of([planned.plan])
            for target in sorted(set(needs.targets) - self.observations.keys()):
                self._note(planned.slot, f"{planned} needs the observation '{target}', which {self._offer()} lacks")
            for region in sorted({region for _, region in needs.regions} - set(self.capture.regions)):
                defined = ", ".join(f"'{name}'" for name in self.capture.regions) or "none"
                self._note(
                    planned.slot,
                    f"{planned} is restricted to the region '{region}' of the surface, which capture "
                    f"'{self.spec.capture.name}' does not define (its regions: {defined})",
                )
        return tuple(found)

    @property
    def _landmarks(self) -> int:
        return self.capture.outputs.get("template.landmarks", (0,))[0]

    # Checks of what the core itself needs.

    def _check_training(self, stages: Mapping[str, tuple[PlannedPart, ...]]) -> None:
        training = self.spec.training
        cameras = self.observations[self.roles.training_views]["images"][0]
        if training.views > cameras:
            self._note(
                "training.views",
                f"training.views is {training.views}, but capture '{self.spec.capture.name}' has {cameras} cameras in "
                f"its training views '{self.roles.training_views}'",
            )
        if self.spec.driving is None:
            for index, stage in enumerate(training.stages):
                if "driving" in stage.train and set(stage.train) != set(get_args(PartName)):
                    self._note(
                        f"training.stages.{index}.train",
                        f"stage '{stage.name}' trains the driving encoder, but the spec's slot 'driving' is empty",
                    )

    def _check_code(self, planned: PlannedPart | None) -> None:
        """Note a part that takes a code of another size, as one that was built elsewhere may."""
        taken = (self.spec.code,) if planned is None else planned.plan.inputs.get("code", (self.spec.code,))
        if taken != (self.spec.code,):
            self._note(
                planned.slot, f"{planned} takes a code of shape {taken}, but the spec's code is {self.spec.code}"
            )

    def _check_given(self, planned: PlannedPart, driving: PlannedPart | None) -> None:
        """Note a part that was built elsewhere, for other shapes than it gets here."""
        if planned.slot not in self.findings.given:
            return
        surface = self.observations[self.roles.surface]
        here = {**self.capture.outputs, **({} if driving is None else driving.plan.outputs)}
        here |= {name: surface[name] for name in ("vertices", "texture")}
        for name, shape in planned.plan.inputs.items():
            if name in here and tuple(here[name]) != tuple(shape):
                self._note(
                    planned.slot,
                    f"the {planned.part.kind} given for slot '{planned.slot}' was built for {name} of shape "
                    f"{tuple(shape)}, but here it is {tuple(here[name])}",
                )

    def _check_device(self, planned: PlannedPart) -> None:
        if self.device not in planned.plan.devices:
            runs = " and ".join(planned.plan.devices) or "no device"
            self._note(planned.slot, f"{planned} runs on {runs}, but the spec asks for device '{self.device}'")

    def _offer(self, offered: Sequence[str] | None = None) -> str:
        names = ", ".join(f"'{name}'" for name in (self.observations if offered is None else offered)) or "nothing"
        return f"capture '{self.spec.capture.name}' (it offers {names})"

    def _note(self, slot: str, sentence: str) -> None:
        self.findings.note(slot, sentence)


def _weighted(term: PlannedPart, prior: PlannedPart) -> PlannedPart:
    if "divergence" not in term.plan.needs or term.part.config.weight is not None:
        return term
    config = term.part.config.model_copy(update={"weight": prior.plan.divergence_weight})
    return replace(term, part=replace(term.part, config=config))
