"""Plans the priors of training, of its stages and of fitting, which share a driving encoder and a flow."""

from __future__ import annotations

from collections.abc import Mapping

from lipflow_core.parts import Part
from lipflow_core.planning.blueprint import PlannedPart
from lipflow_core.planning.findings import Findings, plan_of
from lipflow_core.plans import Mismatch, PriorInputs
from lipflow_core.specs.model import SameAs, Spec


def plan_priors(spec: Spec, driving: PlannedPart | None, findings: Findings) -> dict[str, PlannedPart]:
    """Plan each prior; equal priors are one part.

    Args:
        spec: Spec that is planned.
        driving: Driving encoder P, planned; None if the spec has none, or if it does not fit.
        findings: Findings that priors which do not fit are added to.

    Returns:
        Slot → planned prior, for the priors that fit.
    """
    slots = {"prior": spec.prior}
    for index, stage in enumerate(spec.training.stages):
        if stage.prior is not None:
            slots[f"training.stages.{index}.prior"] = stage.prior
    if spec.fitting.prior is not None:
        slots["fitting.prior"] = spec.fitting.prior
    if spec.driving is not None and driving is None:
        return {}  # the priors' findings would depend on an encoder that does not fit itself
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
        planned = same or _plan_prior(slot, part, given, refusals, findings)
        if planned is not None:
            priors[slot] = planned
    if len(priors) == len(slots):
        _check_flow_is_taken(spec, priors, refusals, findings)
        _check_driving_is_used(spec, priors, driving, findings)
    return priors


def _plan_prior(
    slot: str, part: Part, given: PriorInputs, refusals: dict[str, str], findings: Findings
) -> PlannedPart | None:
    if given.flow is not None and slot not in findings.given:
        # Only one of several priors has to take the flow: the others are planned without it.
        try:
            return PlannedPart(slot, part, given, plan_of(part, given))
        except Mismatch as refusal:
            without = PriorInputs(code=given.code, driving=given.driving, driving_name=given.driving_name)
            try:
                planned = PlannedPart(slot, part, without, plan_of(part, without))
            except Mismatch:
                findings.note(slot, str(refusal))
                return None
            refusals[slot] = str(refusal)
            return planned
    planned = findings.plan(slot, part, given)
    if planned is not None and "driving" in planned.plan.needs and given.driving is None:
        findings.note(slot, f"{planned} needs a driving encoder, but the spec's slot 'driving' is empty")
    return planned


def _check_flow_is_taken(
    spec: Spec, priors: Mapping[str, PlannedPart], refusals: Mapping[str, str], findings: Findings
) -> None:
    takers = [slot for slot, planned in priors.items() if "flow" in planned.plan.parts or slot in findings.given]
    if spec.flow is None or takers:
        return
    cure = "; choose a prior that takes one, or leave the slot 'flow' empty (flow=null)"
    for slot, planned in priors.items():
        if slot in refusals:
            findings.note(slot, refusals[slot] + cure)
        elif planned.slot == slot:
            findings.note(slot, f"{planned} takes no flow, but the spec names flow '{spec.flow.name}'{cure}")


def _check_driving_is_used(
    spec: Spec, priors: Mapping[str, PlannedPart], driving: PlannedPart | None, findings: Findings
) -> None:
    shared = isinstance(spec.encoder, SameAs) and "encoder" not in findings.given
    if driving is None or shared:
        return
    if not any("driving" in planned.plan.needs for planned in priors.values()):
        names = " and ".join({id(planned): f"'{planned.part.name}'" for planned in priors.values()}.values())
        findings.note(
            "driving",
            f"driving encoder '{driving.part.name}' would be unused: prior {names} takes no driving signal; choose a "
            "prior that does, or leave the slot 'driving' empty (driving=null)",
        )
