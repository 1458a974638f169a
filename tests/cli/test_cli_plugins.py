"""`plugins list | info | check | doctor` on the shipped plugins."""

import json

from lipflow_core.cli import main
from lipflow_core.registry import default_registry
from lipflow_core.tables import counted


def said(capsys, *arguments, code=0):
    assert main([*arguments]) == code
    return capsys.readouterr().out


def test_list_has_a_row_for_every_component(capsys):
    rows = said(capsys, "plugins", "list").splitlines()
    for component in default_registry().components():
        assert any(row.split()[:2] == [component.kind, component.name] for row in rows)


def test_list_of_one_kind(capsys):
    rows = json.loads(said(capsys, "plugins", "list", "--kind", "prior", "--json"))["components"]
    assert [row["name"] for row in rows] == list(default_registry().names("prior"))


def test_info_tells_options_defaults_presets_and_what_they_mean(capsys):
    (item,) = json.loads(said(capsys, "plugins", "info", "glow", "--json"))
    steps = next(option for option in item["options"] if option["name"] == "steps")
    assert steps == {
        "name": "steps",
        "type": "integer > 0, ≤ 1024",
        "default": 4,
        "required": False,
        "help": "Number of steps. Each is an ActNorm, an LU linear map and a coupling.",
    }
    assert item["presets"]["tiny"]["steps"] == 2
    text = said(capsys, "plugins", "info", "glow")
    assert "steps: integer > 0, ≤ 1024; default 4; tiny 2" in text
    assert "coupling: coupling; default additive" in text


def test_every_option_of_every_shipped_component_is_documented(capsys):
    for component in default_registry().components():
        (item,) = json.loads(said(capsys, "plugins", "info", f"{component.kind}/{component.name}", "--json"))
        assert item["help"] and all(option["help"] for option in item["options"]), component.name


def test_info_of_a_name_that_two_kinds_share_shows_both(capsys):
    text = said(capsys, "plugins", "info", "dam")
    assert "encoder 'dam'" in text and "decoder 'dam'" in text
    assert "encoder 'dam'" not in said(capsys, "plugins", "info", "dam", "--kind", "decoder")


def test_info_of_a_plugin_shows_its_components(capsys):
    text = said(capsys, "plugins", "info", "lipflow_priors")
    assert "prior 'flow'" in text and "prior 'kl'" in text


def test_check_asks_what_the_kit_asks(capsys):
    text = said(capsys, "plugins", "check", "coupling/additive")
    assert "ok     log|det| agrees with autograd's Jacobian" in text
    assert "coupling 'additive': " in text and "FAILED" not in text


def test_doctor_finds_nothing_wrong_with_what_is_shipped(capsys):
    findings = json.loads(said(capsys, "plugins", "doctor", "--json"))
    assert [finding for finding in findings if finding["status"] == "error"] == []
    assert {"lipflow-core", "python", "torch", "threads"} <= {finding["subject"] for finding in findings}


def test_doctor_names_what_is_broken_with_its_cure(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry.toml").write_text('[plugins.mine]\npath = "nowhere.py"\n[aliases.prior]\nx = "no-such"\n')
    text = said(capsys, "plugins", "doctor", code=5)
    assert "plugin mine: BROKEN, FileNotFoundError" in text and "--disable mine" in text
    assert "alias x:" in text


def test_doctor_survives_a_registry_that_can_not_be_read(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry.toml").write_text("[plugins\n")
    assert "not valid TOML" in said(capsys, "plugins", "doctor", code=5)
    assert main(["plugins", "list"]) == 5
    assert "not valid TOML" in capsys.readouterr().err


def test_counts_agree_with_their_noun():
    assert (counted(1, "frame"), counted(0, "frame"), counted(2, "error")) == ("1 frame", "0 frames", "2 errors")


def test_check_says_which_option_it_lacks(capsys):
    assert main(["plugins", "check", "multiface"]) == 5
    told = capsys.readouterr().err
    assert "can't be checked with its options as they are: path: Field required" in told
    assert "lipflow-core plugins check capture/multiface KEY=VALUE" in told


def test_check_takes_options(capsys):
    assert "checks passed" in said(capsys, "plugins", "check", "coupling/spline", "bins=4")
    assert main(["plugins", "check", "coupling/spline", "bins=many"]) == 3
    assert "override 'bins=many': coupling.bins: should be a whole number, got 'many'" in capsys.readouterr().err


def test_check_of_a_plugin_without_components_names_its_commands(capsys):
    assert main(["plugins", "check", "lipflow_sample"]) == 5
    assert "plugin 'lipflow_sample' offers no component; its commands are: sample" in capsys.readouterr().err


def test_check_of_a_plugin_reports_on_its_other_components_before_it_refuses_one(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry.toml").write_text('[plugins.mine]\npath = "mine.py"\n')
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from lipflow_core.hooks import hookimpl\n"
        "import lipflow_glow, lipflow_multiface\n"
        "@hookimpl\n"
        "def lipflow_components():\n"
        "    for plugin, name in ((lipflow_glow, 'additive'), (lipflow_multiface, 'multiface')):\n"
        "        yield replace(next(c for c in plugin.lipflow_components() if c.name == name), name=f'my-{name}')\n"
    )
    assert main(["plugins", "check", "mine"]) == 5
    told = capsys.readouterr()
    assert "coupling 'my-additive': " in told.out and "path: Field required" in told.err


def test_check_of_several_components_takes_no_options(capsys):
    assert main(["plugins", "check", "lipflow_priors", "weight=1"]) == 5
    assert "Name one of them" in capsys.readouterr().err


def test_check_of_a_plugin_names_what_is_not_installed_and_checks_the_rest(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "registry.toml").write_text('[plugins.mine]\npath = "mine.py"\n')
    (tmp_path / "mine.py").write_text(
        "from dataclasses import replace\n"
        "from lipflow_core.hooks import hookimpl\n"
        "import lipflow_glow\n"
        "@hookimpl\n"
        "def lipflow_components():\n"
        "    additive = next(part for part in lipflow_glow.lipflow_components() if part.name == 'additive')\n"
        "    yield replace(additive, name='twin')\n"
        "    yield replace(additive, name='elsewhere', requires=('no_such_package',), install='pip install it')\n"
    )
    assert main(["plugins", "check", "mine"]) == 0
    told = capsys.readouterr()
    assert "coupling 'elsewhere' can't be checked: no_such_package is not installed" in told.err
    assert "pip install it" in told.err and "coupling 'twin': " in told.out
    assert main(["plugins", "check", "coupling/elsewhere"]) == 5
