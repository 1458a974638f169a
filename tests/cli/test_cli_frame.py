"""The frame around every command: help, exit codes, and what may not be imported."""

import subprocess
import sys

import pytest

import lipflow_core
from lipflow_core import cli, errors

HEAVY = ("torch", "numpy", "pydantic", "numba", "PIL")

IMPORTED = """
import sys
sys.argv = ["lipflow-core", *{arguments!r}]
from lipflow_core.cli import main
try:
    code = main()
except SystemExit as stop:
    code = stop.code
print(code or 0, sorted({heavy!r} & sys.modules.keys()), file=sys.stderr)
"""


def run(*arguments, **options):
    return subprocess.run(
        [sys.executable, "-m", "lipflow_core", *arguments], capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize(
    ("arguments", "heavy"),
    [
        (("--help",), {*HEAVY, "pluggy", "typing", "dataclasses"}),
        (("--version",), {*HEAVY, "pluggy", "typing", "dataclasses"}),
        (("plugins", "--help"), {*HEAVY, "pluggy"}),
        (("plugins", "list"), set(HEAVY)),
        (("plugins", "list", "--json", "--show-origin"), set(HEAVY)),
        (("plugins", "info", "glow"), {"torch", "numpy", "numba", "PIL"}),
        (("new", "plugin", "--help"), set(HEAVY)),
    ],
    ids=lambda value: " ".join(value if isinstance(value, tuple) else sorted(value)),
)
def test_what_needs_no_model_imports_nothing_heavy(arguments, heavy):
    program = IMPORTED.format(arguments=arguments, heavy=heavy)
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stderr.splitlines()[-1] == "0 []"


def test_no_descriptor_and_no_config_of_a_shipped_component_imports_torch():
    program = (
        "import sys\n"
        "from lipflow_core.registry import default_registry\n"
        "registry = default_registry()\n"
        "for component in registry.components(): registry.load_config(component)\n"
        "print(len(registry.components()), 'torch' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    count, torch_imported = result.stdout.split()
    assert int(count) > 10 and torch_imported == "False"


def test_help_names_every_command_and_every_exit_code(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert all(f"  {name} " in said for name, _, _ in cli.COMMANDS)
    codes = {e.exit_code for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.LipflowError)}
    assert all(f"\n  {code:<4} " in said for code in {0, 2, 70, 141, *codes})


@pytest.mark.parametrize("command", [name for name, _, _ in cli.COMMANDS])
def test_every_command_has_a_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--registry" in said and "--debug" in said


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(["--version"])
    assert stop.value.code == 0
    assert capsys.readouterr().out == f"lipflow-core {lipflow_core.__version__}\n"


def test_no_command_shows_the_help(capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([])
    assert stop.value.code == 0
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["no-such-command"], ["plugins"], ["plugins", "list", "--kind", "priors"]])
def test_wrong_use_ends_with_2(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main(arguments)
    assert stop.value.code == 2
    assert "usage: lipflow-core" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "meant"),
    [
        (["trian", "dam"], "did you mean 'train'?"),
        (["capture", "simlate"], "did you mean 'simulate'?"),
        (["train", "--ouut", "runs/x", "dam"], "'--ouut': did you mean '--out'?"),
        (["train", "--out=runs/x", "dam", "--resum"], "'--resum': did you mean '--resume'?"),
        (["capture", "simulate", "--subjct=p01"], "'--subjct': did you mean '--subject'?"),
    ],
)
def test_what_is_misspelt_is_told_with_what_was_meant(arguments, meant, capsys):
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    assert meant in capsys.readouterr().err


def test_an_error_is_one_message_without_traceback():
    result = run("plugins", "info", "no-such-thing")
    assert result.returncode == 5
    assert result.stdout == ""
    assert result.stderr.startswith("lipflow-core: error: there is no component or plugin 'no-such-thing'\n")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("before", [True, False], ids=["before the command", "after it"])
def test_debug_shows_the_traceback(before):
    first, second = ("--debug", "plugins") if before else ("plugins", "--debug")
    result = run(first, second, "info", "no-such-thing")
    assert result.returncode == 5
    assert "Traceback" in result.stderr and "PluginError" in result.stderr


@pytest.mark.parametrize(
    ("raised", "code", "said"),
    [
        (errors.StorageError("the disk is full", "make room"), 8, "error: the disk is full\n  make room"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (ZeroDivisionError("division by zero"), 70, "this is a bug, please report it"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_a_command_raises_becomes_an_exit_code(raised, code, said, monkeypatch, capsys):
    def fail(args):
        raise raised

    monkeypatch.setattr("lipflow_core.cli.plugins.listing.run", fail)
    assert cli.main(["plugins", "list"]) == code
    assert said in capsys.readouterr().err


def test_a_reader_that_goes_away_is_no_error_message():
    process = subprocess.Popen(
        [sys.executable, "-m", "lipflow_core", "plugins", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert said == b""
