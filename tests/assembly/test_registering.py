"""Classes of a script or notebook: registered for the process, or given to `assemble` as objects."""

from __future__ import annotations

import json
import warnings

import pytest
import torch
from lipflow_priors.config import StandardNormalConfig
from lipflow_priors.gaussian import StandardNormalPrior

import lipflow_core
from lipflow_core.assembly import blank_template
from lipflow_core.errors import CompatibilityError, ModelError, PluginError
from lipflow_core.hooks import KINDS
from lipflow_core.interfaces.contracts import CONTRACTS
from lipflow_core.model_directory import ModelWarning
from lipflow_core.planning import plan
from lipflow_core.registry import default_registry, load_object
from lipflow_core.registry.process_layer import held
from lipflow_core.specs import load_spec
from lipflow_core.testing import check_component


class QuietConfig(StandardNormalConfig):
    """Options of prior `quiet`."""

    volume: float = 1.0
    """Loudness."""


class QuietPrior(StandardNormalPrior):
    """A standard normal of one's own.

    It has a buffer more.
    """

    def __init__(self, config, given):
        super().__init__(config, given)
        self.register_buffer("volume", torch.tensor(config.volume))


class WithItsConfig(QuietPrior):
    """A class that brings its Config."""

    Config = QuietConfig


@pytest.fixture(autouse=True)
def nothing_stays_registered():
    yield
    vars(held).clear()


def assembled(*overrides, **instances):
    spec = load_spec("dam", ["preset=tiny", *overrides])
    return lipflow_core.assemble(spec, template=blank_template(plan(spec)), **instances), spec


def quiet_prior():
    _, spec = assembled()
    return QuietPrior(QuietConfig(), plan(spec).prior.given)


def test_a_registered_class_is_a_component_of_specs():
    assert lipflow_core.register("prior", "quiet", QuietPrior, config=QuietConfig) is QuietPrior
    avatar, spec = assembled("prior={type: quiet, volume: 2}")
    assert type(avatar.prior) is QuietPrior
    assert avatar.prior.volume == 2
    component = default_registry().component("prior", "quiet")
    assert component.summary == "A standard normal of one's own."
    assert spec.prior.distribution == "lipflow_core.register"


def test_register_is_a_decorator_too():
    @lipflow_core.register("prior", "quiet")
    class Mine(WithItsConfig):
        pass

    avatar, _ = assembled("prior=quiet")
    assert type(avatar.prior) is Mine


def test_a_cell_that_is_run_again_replaces_its_class():
    def cell(summary):
        class Mine(WithItsConfig):
            pass

        return lipflow_core.register("prior", "quiet", Mine, summary=summary)

    cell("first")
    second = cell("second")
    assert default_registry().component("prior", "quiet").summary == "second"
    assert type(assembled("prior=quiet")[0].prior) is second


def test_a_registered_component_passes_the_kit():
    lipflow_core.register("prior", "quiet", QuietPrior, config=QuietConfig)
    report = check_component("prior", "quiet")
    assert report.passed, str(report)


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_can_be_registered(kind):
    registry = default_registry()
    shipped = registry.components(kind)[0]
    base, config = load_object(shipped.implementation, shipped), registry.load_config(shipped)
    lipflow_core.register(kind, "of-mine", type("Mine", (base,), {}), config=type("MineConfig", (config,), {}))
    assert "of-mine" in default_registry().names(kind)
    assert CONTRACTS.keys() == set(KINDS)


WRONG = {
    "a name that is taken": (
        ("prior", "kl", WithItsConfig),
        PluginError,
        r"'kl' can't be class \S*WithItsConfig: the name is taken by lipflow-core \(plugin",
    ),
    "no kind": (("pryor", "quiet", WithItsConfig), PluginError, "no kind of component 'pryor'"),
    "a name with capitals": (("prior", "Quiet", WithItsConfig), PluginError, "name must be lower case"),
    "a name that is no text": (("prior", 5, WithItsConfig), PluginError, "name must be lower case .* got 5"),
    "no Config": (("prior", "quiet", QuietPrior), TypeError, "must derive from Config, got None; give it as config="),
    "another kind": (("decoder", "quiet", WithItsConfig), TypeError, "must derive from Decoder, got WithItsConfig"),
    "no component at all": (("metric", "quiet", dict), TypeError, "must derive from Metric, got dict"),
}


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG.values(), ids=WRONG)
def test_what_can_not_be_registered_is_told(arguments, error, message):
    with pytest.raises(error, match=message):
        lipflow_core.register(*arguments)
    assert "quiet" not in default_registry().names("prior")


def test_a_name_that_a_registry_file_gives_to_another_component_is_taken(tmp_path, monkeypatch):
    (tmp_path / "registry.toml").write_text('[aliases.prior]\nquiet = "kl"\n')
    monkeypatch.setenv("LIPFLOW_CORE_REGISTRY", str(tmp_path / "registry.toml"))
    with pytest.raises(PluginError, match=r"'quiet' can't be class \S*: .* an alias of 'kl' in .*registry\.toml"):
        lipflow_core.register("prior", "quiet", WithItsConfig)


def test_two_classes_of_one_name_are_a_clash_that_names_both():
    lipflow_core.register("prior", "quiet", WithItsConfig)
    with pytest.raises(PluginError, match=r"class \S*QuietPrior: .* class \S*WithItsConfig, registered before"):
        lipflow_core.register("prior", "quiet", QuietPrior, config=QuietConfig)


def test_a_model_with_a_registered_part_opens_after_the_same_call_alone(tmp_path):
    lipflow_core.register("prior", "quiet", QuietPrior, config=QuietConfig)
    avatar, spec = assembled("prior={type: quiet, volume: 3}")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        lipflow_core.save_model(avatar, spec, tmp_path / "model")
        assert lipflow_core.open_model(tmp_path / "model").avatar.prior.volume == 3
    vars(held).clear()
    with pytest.raises(PluginError, match=r"prior 'quiet' of lipflow_core.register class \S*QuietPrior") as caught:
        lipflow_core.open_model(tmp_path / "model")
    assert 'lipflow_core.register("prior", "quiet", CLASS) in this process first' in caught.value.hint


def test_a_model_with_a_part_given_as_an_object_says_what_it_needs(tmp_path):
    avatar, spec = assembled(prior=quiet_prior())
    with pytest.warns(ModelWarning, match=r"its prior is a \S*QuietPrior, but its spec names 'standard-normal'"):
        lipflow_core.save_model(avatar, spec, tmp_path / "model")
    lock = json.loads((tmp_path / "model" / "lock.json").read_text(encoding="utf-8"))
    assert lock["given"] == {"prior": f"{__name__}.QuietPrior"}
    with pytest.raises(ModelError, match=r"the prior of this model was a \S*QuietPrior, given as an object") as caught:
        lipflow_core.open_model(tmp_path / "model")
    assert 'lipflow_core.register("prior", NAME, QuietPrior)' in caught.value.hint
    lipflow_core.register("prior", "quiet", QuietPrior, config=QuietConfig)
    opened = lipflow_core.open_model(tmp_path / "model", overrides=["prior=quiet"])
    assert type(opened.avatar.prior) is QuietPrior


def test_training_warns_of_a_part_given_as_an_object_before_its_first_step(tmp_path):
    spec = load_spec("dam", ["preset=tiny"])
    avatar = lipflow_core.assemble(spec, prior=quiet_prior())
    with (
        pytest.warns(ModelWarning, match="can't be opened again by its spec alone"),
        pytest.raises(lipflow_core.LipflowError, match="interrupted after step 1"),
    ):
        lipflow_core.train(spec, tmp_path / "run", avatar=avatar, stop=lambda: True)


def test_a_part_given_as_an_object_is_checked_against_the_plan():
    wide, _ = assembled("capture.texture=64")
    with pytest.raises(CompatibilityError, match=r"given for slot 'encoder' was built for face.texture of shape"):
        assembled("capture.texture=32", encoder=wide.encoder)
    other = lipflow_core.assemble(
        spec := load_spec("lip-kl-hmc", ["preset=tiny", "driving.features=24"]), template=blank_template(plan(spec))
    )
    narrow = load_spec("lip-kl-hmc", ["preset=tiny", "driving.features=16"])
    with pytest.raises(CompatibilityError, match=r"given for slot 'prior' was built for features of shape \(24,\)"):
        lipflow_core.assemble(narrow, template=blank_template(plan(narrow)), prior=other.prior)
