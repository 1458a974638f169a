"""Which layer decides, and what is wrong with a registry.toml that can't be understood."""

import pytest
from sandbox import CONFIG, plugin_source


def switch_off(plugin):
    return f"[plugins.{plugin}]\nenabled = false\n"


def test_the_user_overrides_what_is_shipped(sandbox):
    file = sandbox.registry(switch_off("lipflow_glow"), sandbox.configuration)
    plugin = sandbox.plugin("lipflow_glow")
    assert (plugin["status"], plugin["origin"]) == ("disabled", f"user ({file})")


def test_the_project_overrides_the_user(sandbox):
    sandbox.registry(switch_off("lipflow_glow"), sandbox.configuration)
    file = sandbox.registry("[plugins.lipflow_glow]\nenabled = true\n")
    plugin = sandbox.plugin("lipflow_glow")
    assert (plugin["status"], plugin["origin"]) == ("ok", f"project ({file})")


def test_the_environment_overrides_the_project(sandbox):
    sandbox.registry("[plugins.lipflow_glow]\nenabled = true\n")
    file = sandbox.registry(switch_off("lipflow_glow"), sandbox.project.parent / "elsewhere")
    plugin = sandbox.plugin("lipflow_glow", LIPFLOW_CORE_REGISTRY=str(file))
    assert (plugin["status"], plugin["origin"]) == ("disabled", f"environment ({file})")


def test_the_command_line_overrides_the_environment(sandbox):
    file = sandbox.registry("[plugins.lipflow_glow]\nenabled = true\n", sandbox.project.parent / "elsewhere")
    plugin = sandbox.plugin("lipflow_glow", "--registry", str(file), LIPFLOW_CORE_DISABLE="lipflow_glow")
    assert (plugin["status"], plugin["origin"]) == ("ok", f"command line ({file})")


def test_disable_wins_over_everything(sandbox):
    plugin = sandbox.plugin("lipflow_glow", "--disable", "lipflow_glow")
    assert (plugin["status"], plugin["origin"]) == ("disabled", "command line (--disable)")


@pytest.mark.parametrize("name", ["Acme_Prior", "acme_prior", "acme-prior", "ACME.prior", "the-plugin"])
def test_a_plugin_is_disabled_by_any_spelling_of_its_distribution(sandbox, name):
    sandbox.install("Acme_Prior", "the_plugin", plugin_source("acme"))
    assert sandbox.plugin("the_plugin", LIPFLOW_CORE_DISABLE=name)["status"] == "disabled"
    assert sandbox.plugin("the_plugin", "--disable", name)["status"] == "disabled"


@pytest.mark.parametrize("place", range(4))
def test_options_of_every_command_stand_anywhere(sandbox, place):
    arguments = ["plugins", "list", "--json"]
    result = sandbox.run(*arguments[:place], "--disable", "lipflow_glow", *arguments[place:])
    assert result.returncode == 0
    assert '"status": "disabled"' in result.stdout


def test_disabling_what_does_not_exist_is_an_error_on_the_command_line(sandbox):
    result = sandbox.run("--disable", "lipflow_glwo", "plugins", "list")
    assert result.returncode == 5
    assert "there is no plugin 'lipflow_glwo'" in result.stderr and "did you mean 'lipflow_glow'?" in result.stderr


def test_disabling_what_does_not_exist_is_a_note_in_the_environment(sandbox):
    result = sandbox.run("plugins", "list", LIPFLOW_CORE_DISABLE="lipflow_glwo")
    assert result.returncode == 0
    assert "there is no plugin 'lipflow_glwo'" in result.stdout


def test_the_project_is_found_from_its_subfolders_up_to_the_root_of_its_git_work_tree(sandbox):
    sandbox.registry(switch_off("lipflow_glow"))
    (sandbox.project / ".git").mkdir()
    inner = sandbox.project / "a" / "b"
    inner.mkdir(parents=True)
    sandbox.project = inner
    assert sandbox.plugin("lipflow_glow")["status"] == "disabled"


def test_folders_above_the_work_tree_are_not_searched(sandbox):
    sandbox.registry(switch_off("lipflow_glow"), sandbox.project.parent)
    (sandbox.project / ".git").mkdir()
    assert sandbox.plugin("lipflow_glow")["status"] == "ok"


def test_outside_of_a_work_tree_only_the_current_folder_counts(sandbox):
    sandbox.registry(switch_off("lipflow_glow"), sandbox.project.parent)
    assert sandbox.plugin("lipflow_glow")["status"] == "ok"


def test_a_registry_beside_a_model_or_spec_elsewhere_runs_no_code(sandbox):
    stranger = sandbox.project / "downloads"
    sandbox.write(stranger / "evil.py", "import pathlib\npathlib.Path('ran').touch()\n")
    sandbox.registry('[plugins.evil]\npath = "evil.py"\n', stranger)
    sandbox.write(stranger / "spec.yaml", "name: theirs\n")
    result = sandbox.run("assemble", "--check", str(stranger / "spec.yaml"))
    assert result.returncode == 3
    assert not (sandbox.project / "ran").exists()


MARKS = ["lock.json", "run.json", "fit.json", "evaluation.json", "KRT", "frame_list.txt", "lipflow/capture.json"]


@pytest.mark.parametrize("mark", MARKS)
@pytest.mark.parametrize("clone", [True, False])
@pytest.mark.parametrize("below", [".", "checkpoints", "dam/pictures"])
def test_in_and_below_a_strangers_data_a_registry_runs_no_code(sandbox, mark, clone, below):
    data = sandbox.project
    sandbox.write(data / mark, "{}")
    sandbox.project = data / below
    sandbox.write(sandbox.project / "evil.py", "import pathlib\npathlib.Path('ran').touch()\n")
    sandbox.registry('[plugins.evil]\npath = "evil.py"\n')
    if clone:
        (sandbox.project / ".git").mkdir()
    with pytest.warns(UserWarning, match="registry.toml is left unread: ") as warned:
        result = sandbox.run("plugins", "list")
    assert result.returncode == 0, result.stderr
    assert "evil" not in result.stdout
    said = str(warned[0].message)
    assert f"{data / mark} marks a folder of data" in said
    assert f"--registry {sandbox.project / 'registry.toml'}" in said
    assert not (sandbox.project / "ran").exists()


def test_a_user_can_mark_folders_of_data(sandbox):
    sandbox.registry('[data]\nmarks = ["scan.xml"]\n', sandbox.configuration)
    sandbox.write(sandbox.project / "scan.xml", "")
    sandbox.registry(switch_off("lipflow_glow"))
    with pytest.warns(UserWarning, match="scan.xml marks a folder of data"):
        assert sandbox.plugin("lipflow_glow")["status"] == "ok"


def test_a_byte_order_mark_is_no_part_of_a_registry(sandbox):
    (sandbox.project / "registry.toml").write_text(switch_off("lipflow_glow"), encoding="utf-8-sig")
    assert sandbox.plugin("lipflow_glow")["status"] == "disabled"


def test_a_registry_above_a_model_within_the_work_tree_counts(sandbox):
    (sandbox.project / ".git").mkdir()
    sandbox.registry(switch_off("lipflow_glow"))
    sandbox.project = sandbox.project / "runs" / "dam"
    sandbox.write(sandbox.project / "lock.json", "{}")
    assert sandbox.plugin("lipflow_glow")["status"] == "disabled"


def test_aliases_of_later_layers_win(sandbox):
    sandbox.registry('[aliases.prior]\nshort = "kl"\n', sandbox.configuration)
    file = sandbox.registry('[aliases.prior]\nshort = "flow"\n')
    aliases = sandbox.listed()["aliases"]
    assert aliases == [{"kind": "prior", "alias": "short", "target": "flow", "origin": f"project ({file})"}]
    assert sandbox.run("plugins", "info", "prior/short").stdout.startswith("prior 'flow'")


def test_origins_are_shown(sandbox):
    sandbox.write(sandbox.project / "my_prior.py", plugin_source("mine", module="my_prior") + CONFIG)
    file = sandbox.registry('[plugins.mine]\npath = "my_prior.py"\n')
    shown = sandbox.run("plugins", "list", "--show-origin").stdout
    assert any("mine" in line and f"project ({file})" in line for line in shown.splitlines())


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[plugins.x\n", "not valid TOML"),
        ("\n[plugin]\n", "registry.toml:2: unknown key 'plugin'"),
        ('[plugins.x]\nmodul = "y"\n', "registry.toml:2: [plugins.x] unknown key 'modul'"),
        ('[plugins.x]\nmodule = "y"\nenabled = "yes"\n', "registry.toml:3: [plugins.x] enabled must be true or false"),
        ('[plugins.x]\nmodule = "y"\npath = "z"\n', "has both 'module' and 'path'"),
        ("[plugins]\nx = 3\n", "registry.toml:2: [plugins.x] must be a table"),
        ('[aliases.priors]\nx = "y"\n', "there is no kind 'priors'"),
        ("[aliases.prior]\nx = 3\n", "x must be a component's name, got 3"),
        ('[data]\nmarks = "KRT"\n', "registry.toml:2: [data] marks must be a list, got 'KRT'"),
        ("[data]\nmarks = [3]\n", "registry.toml:2: [data] marks must be a list of strings, got 3 in it"),
        ("[plugins.lipflow_glo]\nenabled = false\n", "there is no plugin 'lipflow_glo'"),
    ],
)
def test_mistakes_in_a_registry_are_named_with_file_and_line(sandbox, text, message):
    file = sandbox.registry(text)
    result = sandbox.run("plugins", "list")
    assert result.returncode == 5
    assert str(file) in result.stderr and message in result.stderr
    assert "Traceback" not in result.stderr


def test_a_registry_that_is_named_must_exist(sandbox):
    for result in (
        sandbox.run("--registry", "nowhere.toml", "plugins", "list"),
        sandbox.run("plugins", "list", LIPFLOW_CORE_REGISTRY="nowhere.toml"),
    ):
        assert result.returncode == 5
        assert "nowhere.toml, which is not a file" in result.stderr


def test_the_users_file_lies_where_platformdirs_says(monkeypatch, tmp_path):
    import platformdirs

    from lipflow_core.registry.layers import user_file

    for value in (str(tmp_path), "", None):
        monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
        if value is not None:
            monkeypatch.setenv("XDG_CONFIG_HOME", value)
        assert str(user_file().parent) == platformdirs.user_config_dir("lipflow-core", appauthor=False)
