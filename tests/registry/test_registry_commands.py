"""Commands of plugins: how they are listed, found and called, and what is said of those that fail."""

import json

import pytest
from sandbox import plugin_source

PLUGIN = """
from lipflow_core.hooks import Command, hookimpl

@hookimpl
def lipflow_commands():
    yield Command(name={name!r}, summary="does a test's work", module={module!r}{extra})
"""

COMMAND = """
def add_arguments(parser):
    parser.add_argument("word")
    parser.add_argument("--twice", action="store_true")

def run(args):
    print(2 * args.word if args.twice else args.word)
    return 4
"""


def command_source(name: str, *, module: str = "worker", **extra: object) -> str:
    """A plugin's module that offers one command."""
    said = "".join(f", {key}={value!r}" for key, value in extra.items())
    return PLUGIN.format(name=name, module=module, extra=said)


def install(
    sandbox, command: str = COMMAND, *, distribution: str = "acme", name: str = "tidy", **extra: object
) -> None:
    """Install a distribution with one command."""
    sandbox.install(distribution, f"{distribution}_tools", command_source(name, **extra))
    sandbox.write(sandbox.site / "worker.py", command)


def row_of(sandbox, name: str, *arguments: str) -> str:
    """What `--help` says of a command or plugin."""
    result = sandbox.run(*arguments, "--help")
    assert result.returncode == 0, result.stderr
    return next(line for line in result.stdout.splitlines() if line.split()[:1] == [name])


def test_a_command_is_called_with_its_arguments_and_gives_the_exit_code(sandbox):
    install(sandbox)
    result = sandbox.run("tidy", "--twice", "ab")
    assert (result.returncode, result.stdout) == (4, "abab\n")


def test_help_shows_a_command_without_importing_it(sandbox):
    install(sandbox, "raise SystemExit('it was imported')\n")
    assert row_of(sandbox, "tidy") == "  tidy      does a test's work"


def test_help_shows_a_summary_as_it_is(sandbox):
    sandbox.install("acme", "acme_tools", command_source("tidy").replace("does a test's work", "%(prog) is 100 % tidy"))
    assert row_of(sandbox, "tidy") == "  tidy      %(prog) is 100 % tidy"


def test_a_command_is_a_row_of_the_plugins(sandbox):
    install(sandbox)
    (row,) = [row for row in sandbox.listed()["commands"] if row["name"] == "tidy"]
    assert (row["kind"], row["status"], row["distribution"], row["module"]) == ("command", "ok", "acme", "worker")
    assert any(
        line.split()[:3] == ["command", "tidy", "ok"] for line in sandbox.run("plugins", "list").stdout.split("\n")
    )


def test_info_explains_a_command(sandbox):
    install(sandbox)
    said = sandbox.run("plugins", "info", "tidy").stdout
    assert "command 'tidy': does a test's work" in said and "acme_tools (acme_tools)" in said
    assert "Its arguments: lipflow-core tidy --help" in said


def test_a_plugin_may_offer_components_and_commands(sandbox):
    sandbox.install("acme", "acme_tools", plugin_source("blend") + command_source("tidy"))
    assert sandbox.component("blend")["plugin"] == "acme_tools"
    said = sandbox.run("plugins", "info", "acme_tools").stdout
    assert "prior 'blend'" in said and "command 'tidy'" in said


def test_a_plugin_given_by_path_has_its_command_beside_it(sandbox):
    sandbox.write(sandbox.project / "mine.py", command_source("tidy", module="mine_worker"))
    sandbox.write(sandbox.project / "mine_worker.py", COMMAND)
    sandbox.registry('[plugins.mine]\npath = "mine.py"\n')
    assert sandbox.run("tidy", "ab").stdout == "ab\n"


def test_a_registry_named_before_the_command_brings_it(sandbox):
    elsewhere = sandbox.root / "elsewhere"
    sandbox.write(elsewhere / "mine.py", command_source("tidy", module="mine_worker"))
    sandbox.write(elsewhere / "mine_worker.py", COMMAND)
    file = str(sandbox.registry('[plugins.mine]\npath = "mine.py"\n', elsewhere))
    assert sandbox.run("--registry", file, "tidy", "ab").stdout == "ab\n"
    assert row_of(sandbox, "tidy", "--registry", file)


@pytest.mark.parametrize("name", ["acme", "acme_tools"])
def test_a_disabled_plugin_brings_no_command(sandbox, name, capsys):
    install(sandbox)
    assert "tidy" not in sandbox.run("--disable", name, "--help").stdout
    with pytest.raises(SystemExit) as stop:
        sandbox.run("--disable", name, "tidy", "ab")
    assert stop.value.code == 2


def test_a_misspelt_command_gets_a_suggestion_and_names_plugins_that_fail(sandbox):
    install(sandbox)
    sandbox.install("bolt", "bolt_tools", "1 / 0\n")
    result = sandbox.python("-m", "lipflow_core", "tiddy")
    assert result.returncode == 2
    assert "there is no command 'tiddy'\n  did you mean 'tidy'?" in result.stderr
    assert "It may be in a plugin that fails to load: bolt_tools (ZeroDivisionError: division by zero)" in result.stderr


def test_a_plugin_that_fails_to_load_is_a_row_of_the_help(sandbox):
    sandbox.install("acme", "acme_tools", "import no_such_thing\n")
    row = row_of(sandbox, "acme_tools")
    assert row.split(maxsplit=1)[1] == "broken: ModuleNotFoundError: No module named 'no_such_thing'"


def test_the_help_survives_a_registry_that_can_not_be_read(sandbox):
    sandbox.registry("[plugins\n")
    result = sandbox.run("--help")
    assert result.returncode == 0
    assert "commands of other plugins can't be listed: " in result.stdout and "not valid TOML" in result.stdout
    assert "  plugins  " in result.stdout


@pytest.mark.parametrize("name", ["tidy", "report", "train"])
def test_two_of_one_name_are_a_clash_that_names_both(sandbox, name):
    install(sandbox, name=name)
    if name == "tidy":
        install(sandbox, name=name, distribution="bolt")
    other = "bolt" if name == "tidy" else "lipflow-core"
    result = sandbox.run(name, "x", "--out", "y") if name == "train" else sandbox.run(name, "x")
    assert result.returncode == 5
    first = result.stderr.splitlines()[0]
    assert (
        f"command '{name}' is offered by " in first and "'acme' (plugin acme_tools)" in first and f"'{other}'" in first
    )
    assert "switch one off with --disable" in result.stderr
    row = row_of(sandbox, name)
    assert "clash: offered by" in row and "acme" in row and other in row
    assert {row["status"] for row in sandbox.listed()["commands"] if row["name"] == name} == {"CLASH"}
    assert not (sandbox.project / "y").exists()


def test_a_clash_is_resolved_by_the_owners_name_or_by_disabling_one(sandbox):
    install(sandbox, name="train")
    assert sandbox.run("acme:train", "ab").stdout == "ab\n"
    assert sandbox.run("acme_tools:train", "ab").stdout == "ab\n"
    for arguments in (("lipflow-core:train",), ("train", "--disable", "acme")):
        result = sandbox.run(*arguments, "no-such-spec", "--out", "x")
        assert (result.returncode, "no shipped spec 'no-such-spec'" in result.stderr) == (3, True)


@pytest.mark.parametrize(("api", "cure"), [((1, 99), "pip install --upgrade lipflow-core"), ((0, 3), "upgrade acme")])
def test_a_command_for_another_api_is_refused_with_both_versions_and_the_cure(sandbox, api, cure):
    install(sandbox, api=api)
    result = sandbox.run("tidy", "ab")
    assert result.returncode == 5
    assert f"command 'tidy' (acme) is for plugin API {api[0]}.{api[1]}" in result.stderr and cure in result.stderr
    assert "refused: command 'tidy' (acme) is for plugin API" in row_of(sandbox, "tidy")
    assert [row["status"] for row in sandbox.listed()["commands"] if row["name"] == "tidy"] == ["REFUSED"]


def test_a_missing_package_is_named_with_its_cure(sandbox):
    install(sandbox, requires=("no_such_package",), install="pip install no-such-package")
    assert row_of(sandbox, "tidy").endswith("does a test's work (needs no_such_package)")
    result = sandbox.run("tidy", "ab")
    assert result.returncode == 5
    assert "command 'tidy' needs no_such_package, which is not installed" in result.stderr
    assert "install it with: pip install no-such-package" in result.stderr


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("import no_such_thing\n", "importing worker failed: ModuleNotFoundError: No module named 'no_such_thing'"),
        ("raise SystemExit(0)\n", "importing worker failed: it calls sys.exit(0)"),
        ("def run(args): ...\n", "its module worker has no function add_arguments"),
        ("run = add_arguments = 3\n", "its module worker has no function add_arguments and no run"),
        (COMMAND.replace("return 4", "1 / 0"), "acme_tools (acme) failed: ZeroDivisionError: division by zero"),
        (COMMAND.replace("return 4", "raise SystemExit(0)"), "acme_tools (acme) failed: it calls sys.exit(0)"),
        (COMMAND.replace("return 4", "return 'done'"), "run(args) returned 'done', not an exit code"),
        (COMMAND.replace('"--twice"', '"--debug"'), "conflicting option string: --debug"),
        (COMMAND.replace('"word"', '"word", type=lambda w: {}[w]'), "acme_tools (acme) failed: KeyError: 'ab'"),
    ],
)
def test_a_command_that_fails_by_its_own_fault_is_an_error_that_names_the_plugin(sandbox, command, said):
    install(sandbox, command)
    result = sandbox.run("tidy", "ab")
    assert result.returncode == 5
    assert "command 'tidy'" in result.stderr and said in result.stderr and "Traceback" not in result.stderr
    debugged = sandbox.run("tidy", "ab", "--debug")
    assert debugged.returncode == 5 and "Traceback" in debugged.stderr


@pytest.mark.parametrize(
    ("raised", "code"), [("CaptureError('no frames', 'film some')", 6), ("KeyboardInterrupt()", 130)]
)
def test_errors_that_are_the_users_to_mend_pass_as_they_are(sandbox, raised, code):
    command = "from lipflow_core.errors import CaptureError\n" + COMMAND.replace("return 4", f"raise {raised}")
    install(sandbox, command)
    result = sandbox.run("tidy", "ab")
    assert result.returncode == code
    assert "acme" not in result.stderr


def test_wrong_arguments_of_a_command_end_with_2_and_its_usage(sandbox):
    install(sandbox)
    result = sandbox.python("-m", "lipflow_core", "tidy", "ab", "--twise")
    assert result.returncode == 2
    assert "usage: lipflow-core tidy" in result.stderr and "'--twise': did you mean '--twice'?" in result.stderr


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        (command_source("Bad Name"), "command 'Bad Name': name must be lower case"),
        (command_source("tidy", module="worker:run"), "command 'tidy': module must be of the form package.module"),
        (command_source("tidy", api=1), "command 'tidy': api must be a pair of whole numbers"),
        (command_source("tidy").replace("yield Command", "yield dict"), "not a lipflow_core.hooks.Command"),
        (command_source("tidy").replace("yield Command(", "yield 3 #"), "lipflow_commands() yielded 3"),
    ],
)
def test_a_plugin_with_an_unsound_command_is_broken_with_its_cause(sandbox, source, cause):
    sandbox.install("acme", "acme_tools", source)
    row = sandbox.plugin("acme_tools")
    assert row["status"] == "broken" and cause in row["cause"]


def test_doctor_finds_commands_that_clash_or_can_not_be_imported(sandbox):
    install(sandbox, "1 / 0\n")
    install(sandbox, "1 / 0\n", distribution="bolt", name="train")
    found = json.loads(sandbox.run("plugins", "doctor", "--json").stdout)
    errors = {finding["subject"]: finding["text"] for finding in found if finding["status"] == "error"}
    assert "importing worker failed" in errors["command tidy"]
    assert "command train" in errors


def test_what_plugins_say_does_not_steer_the_terminal(sandbox):
    sandbox.install("acme", "acme_tools", "raise ValueError('\\x1b[31mred')\n")
    for arguments in (("--help",), ("plugins", "list"), ("plugins", "doctor")):
        said = sandbox.run(*arguments).stdout
        assert "\\x1b[31mred" in said and "\x1b" not in said
