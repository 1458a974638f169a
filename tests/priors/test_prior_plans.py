"""What fits with the paper's priors, and the sentences of what does not."""

from __future__ import annotations

import pytest
from prior_parts import CODE, FEATURES, PRIORS, TAKES_FLOW, driving_plan
from pydantic import TypeAdapter, ValidationError

from lipflow_core.parts import FlowSlot, PriorSlot
from lipflow_core.plans import Mismatch, PriorInputs


def plan(options, *, driving=True, flow=True, code=CODE, driving_code=CODE):
    part = TypeAdapter(PriorSlot).validate_python(options)
    flow_part = TypeAdapter(FlowSlot).validate_python({"type": "glow", "hidden": 8}) if flow else None
    given = driving_plan(driving_code) if driving else None
    return part.plan(PriorInputs(code=code, driving=given, driving_name="hmc", flow=flow_part))


@pytest.mark.parametrize("name", ["standard-normal", "kl", "mixture", "flow-matching"])
def test_a_flow_is_refused_where_none_is_taken(name):
    with pytest.raises(Mismatch, match=f"^prior '{name}' takes no flow but the spec names flow 'glow'"):
        plan(PRIORS[name])


@pytest.mark.parametrize("name", ["flow", "flow-student"])
def test_a_flow_is_missed(name):
    with pytest.raises(Mismatch, match=f"^prior '{name}' needs a flow, but the spec's slot 'flow' is empty"):
        plan({"type": name}, flow=False)


@pytest.mark.parametrize("name", ["kl", "lip-flow", "mixture", "flow-student", "flow-matching"])
def test_a_driving_encoder_is_missed(name):
    with pytest.raises(Mismatch, match="needs a driving encoder, but the spec's slot 'driving' is empty"):
        plan(PRIORS[name], driving=False, flow=PRIORS[name]["type"] in TAKES_FLOW)


@pytest.mark.parametrize("name", ["kl", "lip-flow", "mixture", "flow-student", "flow-matching"])
def test_another_size_of_code_is_refused(name):
    with pytest.raises(Mismatch, match="code of 3 dimensions, but driving encoder 'hmc' predicts 7"):
        plan(PRIORS[name], flow=PRIORS[name]["type"] in TAKES_FLOW, driving_code=7)


def test_the_flow_is_conditioned_on_the_driving_features():
    assert plan(PRIORS["lip-flow"]).parts["flow"].inputs == {"code": (CODE,), "context": (FEATURES,)}


@pytest.mark.parametrize("driving", [True, False])
def test_dam_flow_takes_no_driving(driving):
    planned = plan(PRIORS["dam-flow"], driving=driving)
    assert planned.needs == () and planned.parts["flow"].inputs == {"code": (CODE,)}


def test_standard_normal_ignores_a_driving_encoder():
    assert plan(PRIORS["standard-normal"], flow=False).needs == ()


@pytest.mark.parametrize("option", [{"std": 0.5}, {"driving_entropy": 1.0}])
def test_options_of_the_driving_base_are_refused_without_it(option):
    with pytest.raises(ValidationError, match="base 'standard-normal'"):
        plan({"type": "flow", "base": "standard-normal", **option})
