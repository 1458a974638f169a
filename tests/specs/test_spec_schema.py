"""The JSON Schema of specs, as an editor uses it."""

import json
import os

import pytest
import yaml
from jsonschema import Draft202012Validator
from lipflow_schema.schema import spec_schema

from lipflow_core.cli import main
from lipflow_core.registry import default_registry
from lipflow_core.shipped import shipped
from lipflow_core.specs import dump_spec, load_spec, shipped_specs


@pytest.fixture(scope="module")
def validator():
    schema = spec_schema()
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@pytest.mark.parametrize("name", shipped_specs())
def test_shipped_specs_are_valid(validator, name):
    validator.validate(yaml.safe_load((shipped("specs") / f"{name}.yaml").read_text()))


@pytest.mark.parametrize("preset", ["tiny", "paper"])
def test_resolved_specs_are_valid(validator, preset):
    validator.validate(yaml.safe_load(dump_spec(load_spec("lip-flow-hmc", [f"preset={preset}"]))))


@pytest.mark.parametrize(
    "partial",
    [
        {},
        {"encoder": {"same_as": "driving"}},
        {"flow": {"type": "glow", "coupling": {"type": "affine-clamped", "grow": 0.2}}},
        {"renderer": {"near": 2}},
        {"driving": None},
        {
            "training": {
                "stages": [{"objectives": [{"type": "divergence", "weight": {"start": 0, "end": 1, "steps": 5}}]}]
            }
        },
        {"presets": {"small": {"code": 4, "training.stages.0.steps": 3, "flow": {"steps": 2}}}},
    ],
)
def test_partial_specs_are_valid(validator, partial):
    validator.validate(partial)


@pytest.mark.parametrize(
    "wrong",
    [
        {"cod": 3},
        {"code": "many"},
        {"flow": "glo"},
        {"flow": {"type": "glow", "stpes": 3}},
        {"flow": {"type": "glow", "coupling": {"type": "affine", "grow": 0.2}}},
        {"encoder": {"same_as": "decoder"}},
        {"training": {"stages": [{"objectives": [{"type": "divergence", "wieght": 1}]}]}},
        {"presets": {"smal": {}}},
        {"presets": {"small": {"trainin.batch": 3}}},
    ],
)
def test_misspelt_options_and_wrong_types_are_not(validator, wrong):
    assert not validator.is_valid(wrong)


def test_every_enabled_component_is_in_it_with_descriptions():
    definitions = spec_schema()["$defs"]
    for component in default_registry().components():
        entry = definitions[f"{component.kind}:{component.name}"]
        assert entry["description"] == component.summary
        undescribed = [name for name, field in entry["properties"].items() if "description" not in field]
        assert undescribed == ["type"], f"{component.kind} {component.name}: {undescribed}"


def test_every_option_of_the_specs_own_blocks_is_described():
    schema = spec_schema()
    blocks = {"Spec": schema} | {name: block for name, block in schema["$defs"].items() if name.startswith("spec:")}
    for name, block in blocks.items():
        for option, field in block["properties"].items():
            assert field.get("description"), f"{name}.{option}"


def test_the_command_prints_it_and_writes_it(capsys, tmp_path):
    assert main(["schema"]) == 0
    printed = json.loads(capsys.readouterr().out)
    file = tmp_path / "schema.json"
    assert main(["schema", "--out", str(file)]) == 0
    assert json.loads(file.read_text()) == printed
    assert f"# yaml-language-server: $schema={file}" in capsys.readouterr().out


def test_a_place_that_can_not_be_written_ends_with_code_8(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    for place in (tmp_path / "file" / "schema.json", tmp_path / "none" / "schema.json", tmp_path):
        assert main(["schema", "--out", str(place)]) == 8
        assert f"{place}: can't be written" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_folder_ends_with_code_8(tmp_path, capsys):
    tmp_path.chmod(0o500)
    assert main(["schema", "--out", str(tmp_path / "schema.json")]) == 8
    assert "can't be written: Permission denied" in capsys.readouterr().err
