"""The command line: `lipflow-core COMMAND …`.

Each command is a module with `add_arguments(parser)` and `run(args) -> int`, imported only when it is called, so that
`--help` is as quick as Python itself.
"""

from __future__ import annotations

import argparse
import os
import sys

from lipflow_core.errors import LipflowError

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

COMMANDS = (
    ("assemble", "check a spec, plan its model and build it", "lipflow_core.cli.assemble"),
    ("train", "train a spec's model on its capture", "lipflow_core.cli.train"),
    ("fit", "fit a trained model to poor observations", "lipflow_core.cli.fit"),
    ("evaluate", "score fits on held-out frames", "lipflow_core.cli.evaluate"),
    ("sample", "draw faces from a trained model's prior", "lipflow_core.cli.sample"),
    ("report", "write a self-contained HTML report", "lipflow_report.command"),
    ("capture", "simulate, check, look at and pack captures on disk", "lipflow_multiface.commands"),
    ("schema", "print the JSON Schema of specs, with every enabled plugin", "lipflow_core.cli.schema"),
    ("plugins", "list, explain and check plugins", "lipflow_core.cli.plugins"),
    ("new", "write the first files of a new plugin", "lipflow_core.cli.new"),
)
"""Name, help in one line, and module of every command."""

EXIT_CODES = """exit codes:
  0    done
  1    failed, for a reason not listed here
  2    wrong use of the command line
  3    a spec or an override does not say something that can be built
  4    parts of a spec do not fit together
  5    a plugin is missing, broken, of another API, or clashes with another
  6    a capture is missing, empty or damaged
  7    a model directory or checkpoint is missing, damaged or of another spec
  8    something could not be written
  9    a computation gave NaN or infinity
  70   a bug: please report it with the traceback
  130  interrupted
  141  the reader of the output went away"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process if None.
    """
    # Before torch is imported: its threads would else spin while they wait for each other, and on a machine that does
    # other work too, spin in each other's way.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    arguments = list(sys.argv[1:] if argv is None else argv)
    args = _parse(arguments)
    import warnings

    # One line for a warning, without the source line that gave it.
    plain = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"lipflow-core: warning: {message}\n"
    try:
        return _run(args) or 0
    except BrokenPipeError:
        _drop_output()
        return 141
    except (Exception, KeyboardInterrupt) as error:
        return _explain(error, debug=args.debug)
    finally:
        warnings.formatwarning = plain


def _explain(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what ended a command, and give its exit code."""
    known = isinstance(error, LipflowError | KeyboardInterrupt)
    if debug or not known:
        import traceback

        traceback.print_exception(error)
    if isinstance(error, KeyboardInterrupt):
        print("lipflow-core: interrupted", file=sys.stderr)
        return 130
    if known:
        print(f"lipflow-core: error: {error}", file=sys.stderr)
        return error.exit_code
    print(f"lipflow-core: this is a bug, please report it: {error}", file=sys.stderr)
    return 70


def _parse(arguments: list[str]) -> argparse.Namespace:
    parser = _Parser(
        prog="lipflow-core",
        description="Latent priors learned for inference time: from one YAML spec to a fitted face.",
        epilog=EXIT_CODES,
        formatter_class=_Formatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    _add_common(parser, "")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", dest="command")
    for name, summary, module in COMMANDS:
        if name in arguments:
            command = commands.add_parser(
                name, help=summary, description=_sentence(summary), formatter_class=_Formatter, allow_abbrev=False
            )
            _add_common(command, "command_")
            command.set_defaults(run=_import(module, command))
        else:
            commands.add_parser(name, help=summary, add_help=False)
    args, left = parser.parse_known_args(arguments)
    _take_late_overrides(parser, args, left)
    if args.version:
        from lipflow_core.version import __version__

        print(f"lipflow-core {__version__}")
        parser.exit()
    if args.command is None:
        parser.print_help()
        parser.exit()
    args.debug = args.debug or args.command_debug
    return args


def _take_late_overrides(parser: argparse.ArgumentParser, args: argparse.Namespace, left: list[str]) -> None:
    """Accept KEY=VALUE after options too: argparse fills a list of positionals at their first place only."""
    overrides = getattr(args, "overrides", None)
    wrong = [argument for argument in left if argument.startswith("-") or "=" not in argument]
    if overrides is None:
        wrong = left
    if wrong:
        _asked(parser, args).stop(f"unrecognized arguments: {' '.join(wrong)}", wrong)
    if left:
        overrides += left


class _Parser(argparse.ArgumentParser):
    """argparse's, whose errors tell what was probably meant by a misspelt command or option."""

    _given: Sequence[str] = ()

    def parse_known_args(self, args=None, namespace=None):
        self._given = args or ()
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        end = self._given.index("--") if "--" in self._given else len(self._given)
        self.stop(message, self._given[:end])

    def stop(self, message: str, words: Sequence[str]):
        """End with an error, and for those of the words that nobody knows tell what was probably meant."""
        from lipflow_core.spelling import did_you_mean

        commands = _commands_of(self)
        if commands is not None and "invalid choice" in message:
            wrong = [word for word in words if not word.startswith("-") and word not in commands.choices][:1]
            known = list(commands.choices)
        else:
            options = [word.partition("=")[0] for word in words if word.startswith("--")]
            wrong = [word for word in options if word not in self._option_string_actions]
            known = [word for word in self._option_string_actions if word not in ("-h", "--help", "--version")]
        hints = [f"'{word}': {hint}" for word in wrong if (hint := did_you_mean(word, known))]
        super().error("\n  ".join([message, *hints]))


def _commands_of(parser: argparse.ArgumentParser) -> argparse._SubParsersAction | None:
    return next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)


def _asked(parser: argparse.ArgumentParser, args: argparse.Namespace) -> argparse.ArgumentParser:
    """The parser of the command, or of the command's command, that was asked for."""
    commands = _commands_of(parser)
    chosen = None if commands is None else getattr(args, commands.dest, None)
    return parser if chosen is None else _asked(commands.choices[chosen], args)


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse's, without the import of shutil that it needs to ask for the terminal's width."""

    def __init__(self, prog: str):
        super().__init__(prog, width=_terminal_width() - 2)


def _terminal_width() -> int:
    import os

    try:
        return int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size().columns
    except (OSError, ValueError):
        return 100


def _import(module: str, parser: argparse.ArgumentParser) -> Callable[[argparse.Namespace], int]:
    from importlib import import_module

    command = import_module(module)
    command.add_arguments(parser)
    return command.run


def _add_common(parser: argparse.ArgumentParser, prefix: str) -> None:
    """Options that may stand before or after the command; each place has its own destination, since argparse lets
    the second overwrite the first."""
    group = parser.add_argument_group("options of every command") if prefix else parser
    group.add_argument(
        "--registry",
        action="append",
        default=[],
        metavar="FILE",
        dest=f"{prefix}registry",
        help="a further registry.toml, over all others",
    )
    group.add_argument(
        "--disable",
        action="append",
        default=[],
        metavar="PLUGIN",
        dest=f"{prefix}disable",
        help="switch a plugin or distribution off",
    )
    group.add_argument("--debug", action="store_true", dest=f"{prefix}debug", help="show the traceback of an error")


def _run(args: argparse.Namespace) -> int:
    from lipflow_core.registry import set_command_line

    set_command_line(args.registry + args.command_registry, args.disable + args.command_disable)
    return args.run(args)


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _drop_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail too."""
    import os

    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
