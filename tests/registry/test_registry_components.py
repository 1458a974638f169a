"""From a name in a spec to a component: clashes, refusals, broken plugins, missing packages."""

import pytest
from pydantic import TypeAdapter, ValidationError
from sandbox import CONFIG, plugin_source

from lipflow_core.errors import PluginError
from lipflow_core.parts import PriorSlot
from lipflow_core.plans import PriorInputs
from lipflow_core.testing import Subject, checks


def load(sandbox, name, **environment):
    """Fill a prior slot with a name and build it; the part, or what was wrong."""
    with sandbox.entered(**environment):
        try:
            part = TypeAdapter(PriorSlot).validate_python(name)
            part.build(PriorInputs(code=2))
        except (ValidationError, PluginError) as error:
            return str(error)
    return part


@pytest.fixture
def clash(sandbox):
    sandbox.install("acme", "acme_priors", plugin_source("blend"))
    sandbox.install("bolt", "bolt_priors", plugin_source("blend"))
    return sandbox


def test_a_clash_is_listed_and_names_both_distributions_when_used(clash):
    rows = [row for row in clash.listed()["components"] if row["name"] == "blend"]
    assert [row["status"] for row in rows] == ["CLASH", "CLASH"]
    said = load(clash, "blend")
    assert "prior 'blend' is offered by 'acme' (plugin acme_priors) and 'bolt' (plugin bolt_priors)" in said
    assert "[aliases.prior]" in said and "--disable" in said


def test_an_alias_resolves_a_clash(clash):
    clash.registry('[aliases.prior]\nblend = "bolt:blend"\n')
    assert load(clash, "blend").distribution == "bolt"


def test_a_resolved_spec_names_the_distribution_of_a_clashing_component(clash):
    clash.registry('[aliases.prior]\nmog = "acme:blend"\n')
    assert load(clash, "mog").as_data()["type"] == "acme:blend"
    assert load(clash, "acme:blend").as_data()["type"] == "acme:blend"


def test_disabling_one_resolves_a_clash(clash):
    assert load(clash, "blend", LIPFLOW_CORE_DISABLE="bolt").distribution == "acme"


@pytest.mark.parametrize("spelt", ["acme-tools", "Acme_Tools", "acme.tools", "ACME--tools"])
def test_the_distribution_before_a_name_is_spelt_in_any_way(sandbox, spelt):
    sandbox.install("Acme_Tools", "acme_priors", plugin_source("blend"))
    assert load(sandbox, f"{spelt}:blend").distribution == "Acme_Tools"


def test_components_of_other_kinds_may_share_a_name(sandbox):
    sandbox.install("acme", "acme_priors", plugin_source("shared"))
    sandbox.install("bolt", "bolt_flows", plugin_source("shared", kind="flow"))
    assert {row["status"] for row in sandbox.listed()["components"] if row["name"] == "shared"} == {"ok"}


def test_a_component_has_aliases_of_its_own(sandbox):
    sandbox.install("acme", "acme_priors", plugin_source("blend", aliases=("mog",)))
    assert load(sandbox, "mog").as_data()["type"] == "blend"


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import no_such_thing\n", "ModuleNotFoundError: No module named 'no_such_thing'"),
        ("1 / 0\n", "ZeroDivisionError: division by zero"),
        ("def f(:\n", "SyntaxError"),
        ("x = 1\n", "it has no @hookimpl lipflow_components() and no @hookimpl lipflow_commands()"),
        (plugin_source("Bad Name"), "prior 'Bad Name': name must be lower case"),
        (plugin_source("fine", kind="priors"), "priors 'fine': kind must be one of: capture,"),
        (
            plugin_source("fine", module="not a path"),
            "prior 'fine': implementation must be of the form package.module:Class, got",
        ),
        (
            plugin_source("fine", api=(1,)),
            "prior 'fine': api must be a pair of whole numbers, (major, minor), got (1,)",
        ),
        (plugin_source("fine", aliases=["also"]), "prior 'fine': aliases must be a tuple of texts, got ['also']"),
        (plugin_source("fine").replace('"made in a test"', "None"), "prior 'fine': summary must be one line of text"),
        ("raise SystemExit(0)\n", "it calls sys.exit(0), which a plugin must not"),
        (plugin_source("fine").replace("yield", "raise SystemExit(3)\n    yield"), "it calls sys.exit(3)"),
        (plugin_source("fine").replace("def lipflow_components", "def lipflow_component"), "lipflow_component"),
        (plugin_source("fine", colour="red"), "unexpected keyword argument 'colour'"),
        (plugin_source("fine").replace("yield Component", "yield dict"), "not a lipflow_core.hooks.Component"),
    ],
)
def test_a_broken_plugin_is_a_row_with_its_cause_and_leaves_the_others_whole(sandbox, source, cause):
    sandbox.install("acme", "acme_priors", source)
    sandbox.install("bolt", "bolt_priors", plugin_source("whole"))
    assert sandbox.component("whole")["status"] == "ok"
    plugin = sandbox.plugin("acme_priors")
    assert plugin["status"] == "broken" and cause in plugin["cause"]
    shown = sandbox.run("plugins", "list").stdout
    assert any("BROKEN" in line and "acme_priors" in line for line in shown.splitlines())


def test_a_broken_plugin_is_an_error_only_for_what_may_be_in_it(sandbox):
    sandbox.install("acme", "acme_priors", "1 / 0\n")
    assert load(sandbox, "standard-normal").name == "standard-normal"
    said = load(sandbox, "blend")
    assert "there is no prior 'blend'" in said
    assert "acme_priors (ZeroDivisionError: division by zero)" in said


@pytest.mark.parametrize(
    ("api", "relation", "cure"),
    [
        ((1, 99), "newer", "pip install --upgrade lipflow-core"),
        ((2, 0), "newer", "pip install --upgrade lipflow-core"),
        ((0, 3), "older", "upgrade acme"),
    ],
)
def test_a_component_for_another_api_is_refused_with_both_versions_and_the_cure(sandbox, api, relation, cure):
    sandbox.install("acme", "acme_priors", plugin_source("blend", api=api))
    assert sandbox.component("blend")["status"] == "REFUSED"
    said = load(sandbox, "blend")
    assert f"is for plugin API {api[0]}.{api[1]}, which is {relation} than this lipflow-core's 1.0" in said
    assert cure in said


def test_a_component_whose_module_calls_exit_is_an_error_that_names_it(sandbox):
    sandbox.install("acme", "acme_priors", plugin_source("blend", module="script"))
    sandbox.write(sandbox.site / "script.py", "raise SystemExit(0)\n")
    said = load(sandbox, "blend")
    assert "prior 'blend' can't be loaded: importing script:Options failed: it calls sys.exit(0)" in said


def test_a_missing_package_is_listed_and_named_with_its_cure_when_built(sandbox):
    extra = {"requires": ("no_such_package",), "install": "pip install no-such-package"}
    sandbox.install("acme", "acme_priors", plugin_source("blend", **extra))
    row = sandbox.component("blend")
    assert row["status"] == "not installed" and "pip install no-such-package" in row["note"]
    said = load(sandbox, "blend")
    assert "prior 'blend' needs no_such_package, which is not installed" in said
    assert "install it with: pip install no-such-package" in said


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ({"acme": plugin_source("blend"), "bolt": plugin_source("blend")}, "is offered by 'acme'"),
        ({"acme": plugin_source("blend", api=(1, 99))}, "is for plugin API 1.99, which is newer"),
        ({"acme": "1 / 0\n"}, "ZeroDivisionError: division by zero"),
        ({"acme": plugin_source("blend", requires=("no_such_package",))}, "needs no_such_package"),
    ],
    ids=["clash", "newer API", "broken", "not installed"],
)
@pytest.mark.parametrize("command", [("assemble", "--check"), ("train", "--out", "run")], ids=["assemble", "train"])
def test_a_command_that_needs_what_can_not_be_had_ends_with_code_5(sandbox, sources, message, command):
    for distribution, source in sources.items():
        sandbox.install(distribution, f"{distribution}_priors", source)
    result = sandbox.run(*command, "dam", "preset=tiny", "prior=blend")
    assert result.returncode == 5
    assert message in result.stderr and "Traceback" not in result.stderr
    assert not (sandbox.project / "run").exists()


def test_a_misspelt_name_gets_a_suggestion(sandbox):
    assert "did you mean 'standard-normal'?" in load(sandbox, "standart-normal")


def test_a_misspelt_alias_gets_a_suggestion(sandbox):
    sandbox.registry('[aliases.prior]\ngaussian = "standard-normal"\n')
    assert "did you mean 'gaussian'?" in load(sandbox, "gausian")


def test_an_alias_of_nothing_names_the_layer_that_made_it(sandbox):
    file = sandbox.registry('[aliases.prior]\ngaussian = "standrd-normal"\n')
    assert f"is an alias of 'standrd-normal' by project ({file})" in load(sandbox, "gaussian")


def test_a_disabled_plugin_is_mentioned_when_its_component_is_missed(sandbox):
    assert "Switched off: lipflow_priors" in load(sandbox, "standard-normal", LIPFLOW_CORE_DISABLE="lipflow_priors")


def test_a_deprecated_component_warns_once(sandbox):
    sandbox.install("acme", "acme_priors", plugin_source("blend", deprecated="use 'standard-normal'"))
    program = (
        "import warnings; warnings.simplefilter('always')\n"
        "from lipflow_core.registry import default_registry\n"
        "for _ in range(3): default_registry().component('prior', 'blend')"
    )
    said = sandbox.python("-c", program).stderr
    assert said.count("prior 'blend' (acme) is deprecated: use 'standard-normal'") == 1


def test_a_config_of_the_wrong_class_is_refused(sandbox):
    sandbox.install("acme", "acme_priors", plugin_source("blend", module="no_config"))
    sandbox.write(sandbox.site / "no_config.py", "class Options: ...\n")
    assert "no_config:Options is no subclass of lipflow_core.config.Config" in load(sandbox, "blend")


def test_absolute_imports_within_a_local_plugin_get_a_hint(sandbox):
    sandbox.write(sandbox.project / "my_prior.py", plugin_source("mine", module="my_config"))
    sandbox.write(sandbox.project / "my_config.py", "from my_things import Options as Options\n")
    sandbox.write(sandbox.project / "my_things.py", CONFIG)
    sandbox.registry('[plugins.mine]\npath = "my_prior.py"\n')
    result = sandbox.run("plugins", "info", "mine")
    assert result.returncode == 5
    assert "from .my_things import" in result.stderr


def test_versions_are_those_of_the_distribution_or_of_the_code(sandbox):
    sandbox.install("acme", "acme_priors", plugin_source("blend"))
    sandbox.write(sandbox.project / "my_prior.py", plugin_source("mine", module="my_prior") + CONFIG)
    sandbox.registry('[plugins.my-prior]\npath = "my_prior.py"\n')
    program = (
        "from lipflow_core.registry import default_registry as r\n"
        "for name in ('blend', 'mine', 'standard-normal'): print(r().version(r().component('prior', name)))"
    )
    first, second, third = sandbox.python("-c", program).stdout.split()
    import lipflow_core

    assert first == "1.2" and second.startswith("sha256:") and third == lipflow_core.__version__


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (
            "from lipflow_core.config import Config\nclass Options(Config): ...\nclass Made: ...\n",
            "Options must define plan()",
        ),
        ("from lipflow_core.config import Config\nclass Options(Config): ...\n", "has no attribute 'Made'"),
    ],
    ids=["no-plan", "no-implementation"],
)
def test_check_of_what_can_not_be_asked_is_one_failed_check(sandbox, options, told):
    sandbox.install("acme", "acme_priors", plugin_source("lonely"))
    sandbox.write(sandbox.site / "options.py", options)
    result = sandbox.run("plugins", "check", "lonely")
    assert result.returncode == 5
    assert f"0 of 1 checks passed; {len(checks('prior'))} were not run" in result.stdout
    assert result.stdout.count(told) == 1
    assert "this is a bug" not in result.stderr


def test_the_subject_of_no_component_is_a_plugin_error():
    with pytest.raises(PluginError, match=r"there is no prior 'lonely'(.|\n)*registry\.toml that names it"):
        Subject.of("prior", "lonely")
