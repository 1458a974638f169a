"""Where plugins come from: entry points, modules, files and folders."""

import pytest
from sandbox import CONFIG, plugin_source

from lipflow_core.spelling import canonical


def test_an_installed_distribution_is_found_by_its_entry_point(sandbox):
    sandbox.install("acme-priors", "acme_priors", plugin_source("acme"))
    row = sandbox.component("acme")
    assert (row["status"], row["distribution"], row["origin"]) == ("ok", "acme-priors", "entry point")


def test_an_entry_point_may_name_an_object_in_a_module(sandbox):
    source = "class Plugin:\n    from acme_hooks import lipflow_components\n"
    sandbox.install("acme-priors", "acme_priors", source, entry_point="acme = acme_priors:Plugin #")
    sandbox.write(sandbox.site / "acme_hooks.py", plugin_source("acme"))
    points = next(sandbox.site.glob("acme*/entry_points.txt"))
    points.write_text("[lipflow_core.plugins]\nacme = acme_priors:Plugin\n")
    assert sandbox.component("acme")["plugin"] == "acme"


def test_a_file_beside_the_registry_is_a_plugin(sandbox):
    sandbox.write(sandbox.project / "my_prior.py", plugin_source("mine", module="my_prior") + CONFIG)
    sandbox.registry('[plugins.my-prior]\npath = "./my_prior.py"\n')
    row = sandbox.component("mine")
    assert (row["plugin"], row["distribution"]) == ("my-prior", "my-prior")
    assert row["origin"] == f"project ({sandbox.project / 'registry.toml'})"


def test_a_folder_is_a_plugin_and_imports_its_own_files_relatively(sandbox):
    folder = sandbox.project / "my_package"
    sandbox.write(folder / "__init__.py", plugin_source("mine", module="my_package.config"))
    sandbox.write(folder / "config.py", "from .options import Options as Options\n")
    sandbox.write(folder / "options.py", CONFIG)
    sandbox.registry('[plugins.mine]\npath = "./my_package"\n')
    result = sandbox.run("plugins", "info", "mine")
    assert result.returncode == 0, result.stderr
    assert "width: integer; default 3" in result.stdout


def test_two_files_of_one_name_are_two_plugins(sandbox):
    for place in ("one", "two"):
        text = plugin_source(place, module="my_prior") + CONFIG.replace("= 3", f"= {len(place) + (place == 'two')}")
        sandbox.write(sandbox.project / place / "my_prior.py", text)
    sandbox.registry('[plugins.one]\npath = "one/my_prior.py"\n[plugins.two]\npath = "two/my_prior.py"\n')
    assert "default 3" in sandbox.run("plugins", "info", "one").stdout
    assert "default 4" in sandbox.run("plugins", "info", "two").stdout


def test_a_local_file_shadows_no_installed_module(sandbox):
    sandbox.write(sandbox.project / "json.py", plugin_source("mine", module="json") + CONFIG)
    sandbox.registry('[plugins.mine]\npath = "json.py"\n')
    assert sandbox.component("mine")["status"] == "ok"
    assert "default 3" in sandbox.run("plugins", "info", "mine").stdout


def test_a_module_on_the_path_can_be_named(sandbox):
    sandbox.write(sandbox.site / "my_module.py", plugin_source("mine", module="my_module") + CONFIG)
    sandbox.registry('[plugins.mine]\nmodule = "my_module"\n')
    assert sandbox.component("mine")["status"] == "ok"


def test_an_entry_point_called_like_a_shipped_plugin_adds_to_it(sandbox):
    sandbox.install("acme", "acme_priors", plugin_source("acme"), entry_point="lipflow_priors")
    assert sandbox.component("acme")["plugin"] == "acme:lipflow_priors"
    assert sandbox.component("standard-normal")["plugin"] == "lipflow_priors"


def test_the_older_of_two_installed_copies_is_ignored(sandbox):
    sandbox.install("acme", "acme_priors", plugin_source("acme"))
    copy = sandbox.project.parent / "copy"
    sandbox.write(copy / "acme-0.9.dist-info" / "METADATA", "Metadata-Version: 2.1\nName: Acme\nVersion: 0.9\n")
    sandbox.write(copy / "acme-0.9.dist-info" / "entry_points.txt", "[lipflow_core.plugins]\nold = no_such_module\n")
    names = {row["name"] for row in sandbox.listed(PYTHONPATH=f"{sandbox.site}:{copy}")["plugins"]}
    assert "acme_priors" in names and "old" not in names


@pytest.mark.parametrize("spelling", ["Acme", "ACME", "a.c_m--e"])
def test_copies_are_known_by_every_spelling_of_their_name(sandbox, spelling):
    normal = canonical(spelling)
    sandbox.install(normal, "acme_priors", plugin_source("acme"))
    copy = sandbox.project.parent / "copy"
    sandbox.write(copy / "acme-0.9.dist-info" / "METADATA", f"Metadata-Version: 2.1\nName: {spelling}\nVersion: 0.9\n")
    sandbox.write(copy / "acme-0.9.dist-info" / "entry_points.txt", "[lipflow_core.plugins]\nold = no_such_module\n")
    names = {row["name"] for row in sandbox.listed(PYTHONPATH=f"{sandbox.site}:{copy}")["plugins"]}
    assert "acme_priors" in names and "old" not in names


POINTS = b"[lipflow_core.plugins]\nacme_priors = acme_priors\n"
DAMAGE = {
    "no METADATA": ("acme-1.dist-info", {"entry_points.txt": POINTS}),
    "METADATA without a name": ("acme-1.dist-info", {"entry_points.txt": POINTS, "METADATA": b"Version: 1\n"}),
    "a line without =": (
        "acme-1.dist-info",
        {"entry_points.txt": POINTS + b"broken line\n", "METADATA": b"Name: acme\nVersion: 1\n"},
    ),
    "not UTF-8": (
        "acme-1.dist-info",
        {"entry_points.txt": POINTS + b"# \xff\n", "METADATA": b"Name: acme\nVersion: 1\n"},
    ),
    "egg-info without PKG-INFO": ("acme.egg-info", {"entry_points.txt": POINTS}),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_distribution_is_a_row_that_names_its_path(sandbox, damage):
    name, files = DAMAGE[damage]
    folder = sandbox.site / name
    folder.mkdir()
    for file, content in files.items():
        (folder / file).write_bytes(content)
    sandbox.install("bolt", "bolt_priors", plugin_source("whole"))
    assert sandbox.component("whole")["status"] == "ok"
    row = sandbox.plugin(name)
    assert row["status"] == "broken" and f"the installed distribution {folder} is damaged" in row["cause"]
    assert sandbox.plugin(name, "--disable", "acme")["status"] == "disabled"


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_distribution_hides_no_owner_of_a_module(sandbox, damage):
    name, files = DAMAGE[damage]
    (sandbox.site / name).mkdir()
    for file, content in files.items():
        (sandbox.site / name / file).write_bytes(content)
    sandbox.install("bolt", "bolt_priors", plugin_source("whole"))
    (sandbox.site / "bolt-1.2.dist-info" / "entry_points.txt").unlink()
    sandbox.registry('[plugins.mine]\nmodule = "bolt_priors"\n')
    assert sandbox.component("whole")["distribution"] == "bolt"


def test_shipped_plugins_work_from_a_checkout_that_is_not_installed(sandbox):
    import lipflow_core

    checkout = lipflow_core.__path__[0].rsplit("/", 1)[0]
    program = (
        f"import sys; sys.path[:] = [p for p in sys.path if p != {checkout + '/plugins'!r}]\n"
        "from lipflow_core.registry import default_registry\n"
        "print(default_registry().component('prior', 'standard-normal').name)"
    )
    result = sandbox.python("-c", program)
    assert result.stdout == "standard-normal\n", result.stderr
