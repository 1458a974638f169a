"""What does not fit is refused before anything is built, in sentences that name both parts."""

import subprocess
import sys
from dataclasses import replace

import pytest

from lipflow_core.config import Config
from lipflow_core.errors import CompatibilityError, PluginError
from lipflow_core.planning import plan
from lipflow_core.plans import Mismatch, Plan
from lipflow_core.specs import load_spec


def offering(spec, name, shape):
    """The plan of the spec's capture, with another shape of one tensor."""
    capture = plan(spec).capture
    return replace(capture, outputs={**capture.outputs, name: shape})


def planned(name, *overrides):
    return plan(load_spec(name, ["preset=tiny", *overrides]))


@pytest.mark.parametrize("preset", ["tiny", "small", "medium", "paper"])
@pytest.mark.parametrize("name", ["dam", "lip-flow-hmc", "lip-flow-keypoint"])
def test_shipped_specs_fit_at_every_preset(name, preset):
    blueprint = plan(load_spec(name, [f"preset={preset}"]))
    assert blueprint.decoder.plan.outputs["vertices"] == blueprint.shapes["face.vertices"]


@pytest.mark.parametrize(
    ("name", "overrides", "both"),
    [
        ("dam", ["flow=glow"], ["prior 'standard-normal'", "flow 'glow'", "(flow=null)"]),
        ("dam", ["driving=hmc"], ["driving encoder 'hmc'", "prior 'standard-normal'", "(driving=null)"]),
        ("dam", ["prior=kl"], ["prior 'kl' needs a driving encoder"]),
        ("dam", ["prior=flow"], ["prior 'flow' needs"]),
        ("lip-flow-hmc", ["prior=kl"], ["prior 'kl'", "flow 'glow'"]),
        ("lip-flow-hmc", ["flow=null"], ["prior 'flow' needs a flow"]),
        ("lip-flow-hmc", ["driving=null"], ["prior 'flow' needs a driving encoder"]),
        ("lip-flow-hmc", ["device=cuda"], ["renderer 'cpu'", "device 'cuda'"]),
        ("dam", ["encoder={same_as: driving}"], ["encoder is the same as driving", "'driving' is empty"]),
        ("dam", ["capture.texture=30"], ["encoder 'dam'", "capture"]),
        ("dam", ["fitting.objectives.0.target=side"], ["objective 'photometric'", "capture"]),
        ("dam", ["evaluation.view=frontl"], ["capture 'dome'", "did you mean 'frontal'?"]),
        ("dam", ["training.views=9"], ["training.views is 9", "capture 'dome' has 3 cameras"]),
        (
            "dam",
            ["fitting.temporal=random-walk", "fitting.optimizer=lbfgs"],
            ["optimizer 'lbfgs' minimises the loss of each frame by itself", "temporal 'random-walk' couples"],
        ),
        (
            "lip-flow-hmc",
            ["fitting.temporal={type: random-walk, space: base}", "fitting.prior=mixture"],
            ["temporal 'random-walk' works in the prior's base space", "prior 'mixture' has none"],
        ),
        ("dam", ["training.stages.0.train=[driving]"], ["stage 'all'", "'driving' is empty"]),
    ],
)
def test_two_parts_that_do_not_fit_are_named(name, overrides, both):
    with pytest.raises(CompatibilityError) as caught:
        planned(name, *overrides)
    for part in both:
        assert part in str(caught.value)


def test_every_mismatch_is_told_at_once():
    with pytest.raises(CompatibilityError) as caught:
        planned("dam", "evaluation.view=side", "training.views=9", "device=cuda", "prior=kl")
    lines = str(caught.value).splitlines()
    assert lines[0] == "4 parts do not fit:"
    assert len(lines) == 5


def test_a_mismatch_says_where_the_spec_says_so():
    with pytest.raises(CompatibilityError, match=r"^override 'driving=hmc': driving: "):
        planned("dam", "driving=hmc")
    with pytest.raises(CompatibilityError, match=r"dam\.yaml:\d+:\d+: encoder: "):
        planned("dam", "capture.texture=30")


def test_one_of_several_priors_may_take_the_flow():
    blueprint = planned("lip-flow-hmc", "fitting.prior=kl")
    assert "flow" in blueprint.prior.plan.parts
    assert blueprint.fitting_prior.given.flow is None


def test_a_driving_encoder_that_only_fitting_uses_is_of_use():
    blueprint = planned("dam", "driving=hmc", "fitting.prior=kl")
    assert blueprint.driving.part.name == "hmc"


def test_the_driving_encoder_may_be_the_posterior_too():
    blueprint = planned("dam", "driving=hmc", "encoder={same_as: driving}")
    assert blueprint.encoder is blueprint.driving


def test_equal_priors_are_one():
    stages = "training.stages=[{name: a}, {name: b, prior: {type: kl, divergence: likelihood}}, {name: c, prior: kl}]"
    blueprint = planned("dam", "driving=hmc", stages, "fitting.prior={type: kl, divergence: kl}")
    assert blueprint.stage_priors["c"] is blueprint.fitting_prior
    assert blueprint.stage_priors["b"] is not blueprint.fitting_prior
    assert len(list(blueprint.distinct())) == 7


def test_a_device_that_all_parts_run_on_is_found():
    assert planned("dam").device == "cpu"
    assert plan(load_spec("dam", ["preset=tiny", "renderer=torch"]), devices=("cuda", "cpu")).device == "cuda"


def test_the_shapes_of_a_capture_may_be_given_in_its_place():
    spec = load_spec("dam", ["preset=tiny"])
    assert plan(spec, capture=offering(spec, "face.vertices", (50, 3))).decoder.plan.outputs["vertices"] == (50, 3)


def test_a_plan_that_fails_is_its_plugins_fault():
    class Failing(Config):
        def plan(self, given):
            return {}["missing"]

    spec = load_spec("dam", ["preset=tiny"])
    broken = spec.decoder.__class__("decoder", spec.decoder.component, "some-plugin", Failing())
    with pytest.raises(PluginError, match=r"decoder 'dam' of some-plugin: its plan\(\) failed: KeyError"):
        plan(spec.model_copy(update={"decoder": broken}))


def test_a_part_of_another_width_is_refused_by_the_core():
    class Narrow(Config):
        def plan(self, given):
            return Plan(outputs={"mean": (3,), "log_std": (3,), "features": (4,)}, needs=("face",))

    class Sideways(Config):
        def plan(self, given):
            raise Mismatch("decoder 'sideways' does not fit capture 'dome'")

    spec = load_spec("dam", ["preset=tiny"])
    part = spec.encoder.__class__
    update = {
        "encoder": part("encoder", spec.encoder.component, "some-plugin", Narrow()),
        "decoder": part("decoder", spec.decoder.component, "some-plugin", Sideways()),
    }
    with pytest.raises(CompatibilityError) as caught:
        plan(spec.model_copy(update=update))
    assert "encoder 'dam' makes a mean of shape (3,), but the spec's code is 8" in str(caught.value)
    assert "decoder 'sideways' does not fit capture 'dome'" in str(caught.value)


def test_a_package_that_a_part_needs_and_that_is_missing_is_named_before_anything_is_built():
    spec = load_spec("dam", ["preset=tiny"])
    needy = replace(spec.renderer.component, requires=("no_such_rasteriser",), install="pip install no-such-rasteriser")
    changed = spec.model_copy(update={"renderer": replace(spec.renderer, component=needy)})
    message = r"renderer 'cpu' needs no_such_rasteriser, which is not installed\n  Install with: pip install no-such"
    with pytest.raises(PluginError, match=message):
        plan(changed)


def test_planning_imports_no_torch_and_no_numpy():
    code = (
        "import sys; from lipflow_core.cli import main\n"
        "assert main(['assemble', 'lip-flow-hmc', '--check']) == 0\n"
        "assert main(['assemble', 'lip-flow-hmc', 'flow.stpes=1', '--check']) == 3\n"
        "assert main(['assemble', 'dam', '--print-spec']) == 0\n"
        "assert main(['schema']) == 0\n"
        "print([name for name in ('torch', 'numpy', 'numba', 'lightning_fabric') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("name", "shape"), [("face.vertices", (3,)), ("face.texture", ()), ("headset.images", (1, 24, 32))]
)
def test_shapes_of_other_axes_are_told(name, shape):
    spec = load_spec("lip-flow-hmc", ["preset=tiny"])
    with pytest.raises(CompatibilityError, match=f"offers '{name}' of shape .* should have [234] axes"):
        plan(spec, capture=offering(spec, name, shape))


@pytest.mark.parametrize("region", ["eye.left", "eye:left", ""])
def test_names_of_regions_that_can_not_be_stored_or_asked_for_are_told(region):
    spec = load_spec("dam", ["preset=tiny"])
    with pytest.raises(CompatibilityError, match=f"names a region '{region}'; names have no"):
        plan(spec, capture=offering(spec, f"template.regions.{region}", (9,)))


def test_a_fit_to_pictures_must_say_to_which():
    """Training compares the training views by default; a fit to them is rarely meant."""
    with pytest.raises(CompatibilityError, match=r"fitting.objectives.0: .*must say which pictures .*: .*headset"):
        plan(load_spec("dam", ["fitting.objectives=[photometric]"]))


@pytest.mark.parametrize(
    ("overrides", "told"),
    [
        (["fitting.pose={}", "fitting.objectives=[geometry]"], "no objective of fitting compares with 'headset'"),
        (
            ["fitting.perturbation={degrees: 3}", "fitting.objectives=[{type: photometric, target: frontal}]"],
            "no objective of fitting compares with 'headset'",
        ),
        (["fitting.grid={}", "evaluation.metrics=[jitter, geom]"], "scores whole sequences"),
        (["prior=flow-matching", "flow=null", "fitting.space=base"], "prior 'flow-matching' has no base space"),
        (["fitting.grid={}", "evaluation.metrics=[pose-degrees]"], "scores the pose, which this fit neither fits"),
    ],
)
def test_a_fit_that_moves_or_chooses_by_nothing_is_refused(overrides, told):
    with pytest.raises(CompatibilityError, match=told):
        planned("lip-flow-hmc", *overrides)


def test_a_temporal_prior_in_the_base_space_makes_a_fit_load_the_driving_observation():
    options = ["fitting.start=zero", "fitting.objectives=[{type: photometric, target: frontal}]"]
    assert planned("lip-flow-hmc", *options).fitted_observations == ("frontal",)
    walks = {space: f"fitting.temporal={{type: random-walk, space: {space}}}" for space in ("base", "code")}
    assert planned("lip-flow-hmc", *options, walks["code"]).fitted_observations == ("frontal",)
    assert planned("lip-flow-hmc", *options, walks["base"]).fitted_observations == ("frontal", "headset")
