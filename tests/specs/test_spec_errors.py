"""What is wrong with a spec is told in one go: where, what, and what was probably meant."""

import re
import textwrap

import pytest

from lipflow_core.cli import main
from lipflow_core.errors import PluginError, SpecError
from lipflow_core.specs import load_spec

GOOD = """\
name: x
capture: dome
encoder: dam
prior: standard-normal
decoder: dam
fitting:
  objectives: [photometric]
"""


@pytest.fixture
def problems(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def of(text, *overrides):
        if text.count("\nprior: ") > 1:
            text = text.replace("prior: standard-normal\n", "\n")
        (tmp_path / "a.yaml").write_text(text)
        with pytest.raises((SpecError, PluginError)) as caught:
            load_spec("a.yaml", overrides)
        return str(caught.value)

    return of


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("cod: 3", "a.yaml:8:1: cod: unknown option 'cod'; did you mean 'code'? options are: version, name,"),
        ("code: many", "a.yaml:8:7: code: should be a whole number, got 'many'"),
        ("code: true", "a.yaml:8:7: code: should be a whole number, got 'true'"),
        ("code: 2.5", "a.yaml:8:7: code: should be a whole number, got 2.5"),
        ("code: 0", "a.yaml:8:7: code: should be greater than 0, got 0"),
        ("device: gpu", "a.yaml:8:9: device: should be 'auto', 'cpu' or 'cuda', got 'gpu'"),
        (
            "preset: smal",
            "a.yaml:8:9: preset: should be 'tiny', 'small', 'medium' or 'paper', got 'smal'; did you mean",
        ),
        ("driving: 3", "a.yaml:8:10: driving: expected the name of an encoder or a mapping with 'type:'"),
        ("driving: {width: 3}", "a.yaml:8:10: driving: an encoder slot needs 'type:', one of: dam"),
        ("flow: {type: glow, stpes: 3}", "a.yaml:8:20: flow.stpes: unknown option 'stpes'; did you mean 'steps'?"),
        ("flow: {type: glow, steps: x}", "a.yaml:8:27: flow.steps: should be a whole number, got 'x'"),
        ("flow: {type: glow, coupling: {type: affine, grow: 1}}", "8:45: flow.coupling.grow: unknown option 'grow'"),
        ("training: {batch: []}", "a.yaml:8:19: training.batch: should be a whole number, got a list of 0"),
        ("training: {stages: []}", "a.yaml:8:20: training.stages: should have at least 1 entry, got 0"),
        ("training: {stages: [3]}", "a.yaml:8:21: training.stages.0: should be a mapping of options, got 3"),
        ("prior: {type: kl, std: -1}", "prior.std: should be greater than 0, got -1"),
        ("prior: {type: kl, std: drivin}", "prior.std: should be 'driving', got 'drivin'; did you mean 'driving'?"),
        ("prior: {type: kl, std: [1]}", "prior.std: should be 'driving' or a number, got a list of 1"),
        ("training: {stages: [{}, {}]}", "a.yaml:8:11: training: two stages are named 'all'"),
        (
            "training: {stages: [{objectives: [{type: divergence, weight: x}]}]}",
            "8:62: training.stages.0.objectives.0.weight: should be a number or",
        ),
        (
            "training: {stages: [{objectives: [{type: divergence, weight: {end: 1, steps: 2}}]}]}",
            "0.objectives.0.weight.start: is required",
        ),
        ("training: {clip: .nan}", "a.yaml:8:18: training.clip: should be "),
        ("presets: {smal: {}}", "a.yaml:8:11: presets: unknown preset 'smal'; did you mean 'small'?"),
        ("presets: {small: 3}", "a.yaml:8:18: presets.small: must be a mapping"),
        ("presets: {paper: {cod: 3}}", "a.yaml:8:19: cod: unknown option 'cod'; did you mean 'code'?"),
        ("presets: {paper: {preset: tiny}}", "a.yaml:8:19: a preset can't set 'preset'"),
    ],
)
def test_one_problem_in_its_place(problems, line, message):
    text = problems(GOOD + line)
    assert message in text
    assert "\n" not in text.replace("\n  ", "  ")


def test_no_name_of_pydantics_making_appears(problems):
    text = problems(
        GOOD + "driving: 3\ntraining: {stages: [{objectives: [{type: divergence, weight: {}}]}]}\nencoder2: 1"
    )
    assert not re.search(r"function-|constrained-|Ramp|pydantic|Input should", text)


def test_every_problem_at_once_in_the_order_of_the_file(problems):
    text = problems(
        textwrap.dedent("""\
        nam: x
        capture: dom
        encoder: {type: dam, widht: 2}
        decoder: dam
        fitting: {objectives: [{type: photometric, weight: -1}]}
        """)
    )
    lines = text.splitlines()
    assert lines[0] == "6 problems:"
    found = [line for line in lines if line.startswith("a.yaml")]
    wrong = ["capture", "encoder.widht", "fitting.objectives.0.weight", "nam", "name", "prior"]
    assert sorted(line.split(": ")[1] for line in found) == wrong
    positions = [int(line.split(":")[1]) for line in found]
    assert positions == sorted(positions)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("code", "override 'code': is not of the form key.path=value"),
        ("=3", "override '=3': is not of the form"),
        ("a..b=3", "override 'a..b=3': 'a..b' has an empty name between its dots"),
        ("seed=[1", "override 'seed=[1': is not valid YAML"),
        ("seed=x", "override 'seed=x': seed: should be a whole number, got 'x'"),
        ("sed=1", "override 'sed=1': sed: unknown option 'sed'; did you mean 'seed'?"),
        ("encoder.widht=1", "override 'encoder.widht=1': encoder.widht: unknown option 'widht'; did you mean 'width'?"),
        ("prior=kll", "override 'prior=kll': prior: there is no prior 'kll'; did you mean 'kl'?"),
        ("fitting.objectives.7.weight=1", "'fitting.objectives' has 1 entry; position 7 does not exist"),
        (
            "fitting.objectives.x=1",
            "'fitting.objectives' has no entry of type 'x'; give one of photometric, or a position",
        ),
        ("training.stages.2.steps=1", "'stages' has 1 entry"),
        ("training.steps=10", "unknown option 'steps'; did you mean training.stages.0.steps?"),
        ("steps=10", "did you mean training.stages.0.steps or fitting.steps?"),
        ("training.lr=1", "did you mean training.stages.0.learning_rate?"),
        ("training.stages.0.train=[]", "training.stages.0.train: should have at least 1 entry, got 0"),
        (
            "training.stages.0.objectives.divergence.weight=true",
            "should be a number or a mapping of options, got 'true'",
        ),
        ("prior={type: flow, std: true}", "prior.std: should be 'driving', got 'true'"),
        ("fitting.grid={learning_rate: [true]}", "fitting.grid.learning_rate.0: should be a number, got 'true'"),
    ],
)
def test_a_problem_with_an_override_names_it(problems, override, message):
    assert message in problems(GOOD, override)


def test_a_missing_file_and_a_misspelt_name_are_told_apart(tmp_path):
    (tmp_path / "face.yaml").write_text(GOOD)
    with pytest.raises(SpecError, match=r"there is no such file\n  Did you mean .*face\.yaml\?"):
        load_spec(tmp_path / "fase.yaml")
    with pytest.raises(SpecError, match=r"did you mean 'lip-flow-hmc'\?"):
        load_spec("lip-flow-hcm")


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["lip-flow-hmc", "flow.stpes=3"], 3),
        (["lip-flow-hmc", "code=x"], 3),
        (["lip-flow-hmc", "prior=flw"], 3),
        (["no-such-spec"], 3),
        (["lip-flow-hmc", "prior=mixture-of-experts"], 5),
        (["dam", "preset=tiny", "capture.texture=30"], 4),
        (["dam", "preset=tiny", "driving=hmc"], 4),
    ],
)
def test_bad_specs_end_with_their_exit_code_and_one_message(arguments, code, capsys):
    assert main(["assemble", *arguments, "--check"]) == code
    shown = capsys.readouterr()
    assert shown.out == ""
    assert shown.err.startswith("lipflow-core: error: ")
    assert "Traceback" not in shown.err


def test_a_plugin_that_is_switched_off_is_named(monkeypatch, capsys):
    monkeypatch.setenv("LIPFLOW_CORE_DISABLE", "lipflow_hmc")
    assert main(["assemble", "lip-flow-hmc", "--check"]) == 5
    assert "Switched off: lipflow_hmc" in capsys.readouterr().err


def test_a_required_option_of_a_component_is_told_beside_an_unknown_one(problems):
    told = problems(GOOD.replace("capture: dome", "capture: {type: multiface, pth: x}"))
    assert "a.yaml:2:1: capture.path: is required\n" in told
    assert "a.yaml:2:28: capture.pth: unknown option 'pth'; did you mean 'path'?" in told


def test_a_tab_and_a_name_are_told_in_words(problems):
    told = problems(GOOD.replace("capture: dome", "capture:\n\ttype: dome"))
    assert told == "a.yaml:3:1: is not valid YAML: a tab stands here; indent with spaces, not tabs"
    assert "name: should be letters, digits, '.', '_' and '-'" in problems(GOOD.replace("name: x", "name: a b"))
