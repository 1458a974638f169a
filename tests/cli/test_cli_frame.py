"""The frame around every command: help, exit codes, and what may not be imported."""

import os
import subprocess
import sys

import pytest

import lipflow_core
from lipflow_core import cli, errors
from lipflow_core.cli.commands import OWN

HEAVY = ("torch", "numpy", "pydantic", "numba", "PIL")
COMMANDS = (*OWN, "capture", "plugins", "report", "sample", "schema")

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
        (("--help",), {*HEAVY, "lipflow_report.command", "lipflow_multiface.commands"}),
        (("--version",), {*HEAVY, "pluggy", "typing", "dataclasses"}),
        (("train", "--help"), {*HEAVY, "pluggy", "typing", "dataclasses"}),
        (("plugins", "--help"), set(HEAVY)),
        (("report", "--help"), set(HEAVY)),
        (("capture", "simulate", "--help"), set(HEAVY)),
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
    assert cli.main(["--help"]) == 0
    said = capsys.readouterr().out
    assert all(f"\n  {name} " in said for name in COMMANDS)
    codes = {e.exit_code for e in vars(errors).values() if isinstance(e, type) and issubclass(e, errors.LipflowError)}
    assert all(f"\n  {code:<4} " in said for code in {0, 2, 70, 141, *codes})


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_a_help(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    said = capsys.readouterr().out
    assert stop.value.code == 0
    assert "--registry" in said and "--debug" in said


def test_version(capsys):
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out == f"lipflow-core {lipflow_core.__version__}\n"


def test_no_command_shows_the_help(capsys):
    assert cli.main([]) == 0
    assert "COMMAND" in capsys.readouterr().out


@pytest.mark.parametrize(
    "arguments",
    [
        ["no-such-command"],
        ["--no-such-option", "train"],
        ["plugins"],
        ["plugins", "list", "--kind", "priors"],
        ["plugins", "list", "--registry"],
        ["schema", "--", "left"],
    ],
)
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
        (["capture", "simulate", "--subjct=p01", "--out", "x"], "'--subjct': did you mean '--subject'?"),
        (["plugins", "list", "--kind", "pryor"], "did you mean 'prior'?"),
        (["train", "dam", "--preset", "tiny", "--out", "x"], "'--preset': an option of the spec is written without"),
        (["train", "dam", "--preset", "tiny", "--out", "x"], "dashes: preset=tiny"),
        (["train", "dam", "--seed=3", "--out", "x"], "dashes: seed=3"),
        (["train", "dam", "tiny", "--out", "x"], "'tiny' is not of the form KEY=VALUE\n  did you mean preset=tiny?"),
        (["assemble", "dam", "code"], "'code' is not of the form KEY=VALUE"),
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
    assert result.stderr.startswith("lipflow-core: error: there is no component, command or plugin 'no-such-thing'\n")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("place", range(4))
def test_debug_shows_the_traceback_wherever_it_stands(place):
    arguments = ["plugins", "info", "no-such-thing"]
    result = run(*arguments[:place], "--debug", *arguments[place:])
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
def test_an_error_becomes_an_exit_code(raised, code, said, capsys):
    assert cli.explain(raised, debug=False) == code
    assert said in capsys.readouterr().err


def test_words_of_strangers_do_not_steer_the_terminal(tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text('"a\\e[31mred\\u202ename": 1\n')
    said = run("assemble", "--check", str(spec)).stderr
    assert "unknown option 'a\\x1b[31mred\\u202ename'" in said
    assert "\x1b" not in said and "\u202e" not in said


@pytest.mark.parametrize("arguments", [["--help"], ["plugins", "list"], ["plugins", "info", "glow"]])
def test_output_that_is_not_utf_8_gets_the_codes_of_what_it_can_not_show(arguments):
    result = run(*arguments, env={**os.environ, "PYTHONIOENCODING": "ascii", "COLUMNS": "60"})
    assert result.returncode == 0, result.stderr
    assert result.stdout.isascii() and "\\u" in result.stdout


def test_a_long_message_is_cut_with_a_count(tmp_path):
    spec = tmp_path / "spec.yaml"
    spec.write_text("".join(f"key{number}: 1\n" for number in range(300)))
    said = run("assemble", "--check", str(spec)).stderr.splitlines()
    assert len(said) == 61
    assert said[0].startswith("lipflow-core: error: 30") and said[-1].endswith("more lines")


def test_python_m_looks_for_no_module_in_the_current_folder(tmp_path):
    for module in ("argparse", "torch", "yaml", "lipflow_dam"):
        (tmp_path / f"{module}.py").write_text("raise SystemExit('their code ran')\n")
    result = run("plugins", "list", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "their code ran" not in result.stdout + result.stderr


def test_a_reader_that_goes_away_is_no_error_message():
    process = subprocess.Popen(
        [sys.executable, "-m", "lipflow_core", "plugins", "list"], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait() == 141
    assert said == b""
