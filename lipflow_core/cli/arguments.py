"""Arguments: the options of every command, the parsers of the commands, and what is said of a wrong argument."""

from __future__ import annotations

import argparse
import sys

from lipflow_core.tables import printable, terminal_width

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    from collections.abc import Sequence

ABOUT = "Latent priors learned for inference time: from one YAML spec to a fitted face."

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


class Parser(argparse.ArgumentParser):
    """argparse's parser, whose errors tell what was probably meant."""

    _given: Sequence[str] = ()

    def __init__(self, **options):
        super().__init__(**{"formatter_class": _Formatter, "allow_abbrev": False, **options})

    def parse_known_args(self, args=None, namespace=None):
        self._given = args or ()
        return super().parse_known_args(args, namespace)

    def error(self, message: str):
        end = self._given.index("--") if "--" in self._given else len(self._given)
        self.stop(message, self._given[:end])

    def stop(self, message: str, words: Sequence[str] = ()):
        """End with an error, and for those of the words that are unknown options tell what was probably meant."""
        from lipflow_core.spelling import did_you_mean

        known = [word for word in self._option_string_actions if word not in ("-h", "--help", "--version")]
        hints = []
        for place, word in enumerate(words):
            option, _, value = word.partition("=")
            if not option.startswith("--") or option in self._option_string_actions:
                continue
            hint = did_you_mean(option, known)
            if self._takes_overrides and _is_of_spec(option[2:]):
                value = value or next((w for w in words[place + 1 : place + 2] if not w.startswith("-")), "VALUE")
                hint = f"an option of the spec is written without dashes: {option[2:]}={value}"
            hints += [f"'{option}': {hint}"] if hint else []
        super().error(printable("\n  ".join([message, *hints])))

    @property
    def _takes_overrides(self) -> bool:
        return any(action.dest == "overrides" for action in self._actions)

    def _check_value(self, action, value):
        try:
            super()._check_value(action, value)
        except argparse.ArgumentError as error:
            from lipflow_core.spelling import did_you_mean

            error.message += did_you_mean(str(value), map(str, action.choices), "\n  ")
            raise


def _is_of_spec(key: str) -> bool:
    from lipflow_core.specs import Spec

    return key.partition(".")[0] in Spec.model_fields


class _Formatter(argparse.RawDescriptionHelpFormatter):
    """argparse's formatter, without the import of shutil by which it asks for the terminal's width."""

    def __init__(self, prog: str):
        super().__init__(prog, width=terminal_width(sys.stdout) - 2)


def take_common(arguments: Sequence[str]) -> tuple[argparse.Namespace, list[str]]:
    """Take the options of every command out of the arguments, wherever they stand before a "--".

    Returns:
        `registry`, `disable` and `debug`; and the other arguments.
    """
    parser = Parser(prog="lipflow-core", usage="lipflow-core COMMAND …", add_help=False)
    _add_common(parser)
    end = arguments.index("--") if "--" in arguments else len(arguments)
    common, rest = parser.parse_known_args(arguments[:end])
    return common, [*rest, *arguments[end:]]


def top_parser() -> Parser:
    """Make the parser of what stands before a command."""
    parser = Parser(
        prog="lipflow-core", usage="lipflow-core COMMAND …", description=ABOUT, epilog=EXIT_CODES, add_help=False
    )
    parser.add_argument("-h", "--help", action="store_true", help="show this help, or that of the command, and exit")
    parser.add_argument("--version", action="store_true", help="print the version and exit")
    _add_common(parser)
    return parser


def command_parser(name: str, summary: str) -> Parser:
    """Make the parser of a command, to which the command adds its own arguments."""
    parser = Parser(prog=f"lipflow-core {name}", description=f"{summary[0].upper()}{summary[1:]}.")
    _add_common(parser.add_argument_group("options of every command"))
    return parser


def parse(parser: Parser, arguments: Sequence[str], common: argparse.Namespace) -> argparse.Namespace:
    """Parse the arguments of a command. KEY=VALUE may stand after options too, which argparse alone would refuse."""
    args, left = parser.parse_known_args(list(arguments), argparse.Namespace(**vars(common)))
    overrides = getattr(args, "overrides", None)
    wrong = [word for word in left if overrides is None or word.startswith("-") or "=" not in word]
    if wrong:
        _asked(parser, args).stop(f"unrecognized arguments: {' '.join(wrong)}", wrong)
    if overrides is not None:
        overrides += left
        _check_overrides(parser, args)
    return args


def _check_overrides(parser: Parser, args: argparse.Namespace) -> None:
    word = next((word for word in args.overrides if "=" not in word), None)
    if word is not None:
        from lipflow_core.specs.model import PRESETS

        hint = f"\n  did you mean preset={word}?" if word in PRESETS else ""
        _asked(parser, args).stop(f"'{word}' is not of the form KEY=VALUE{hint}")


def _asked(parser: Parser, args: argparse.Namespace) -> Parser:
    """Find the parser of the command, or of its subcommand, that was called."""
    commands = next((action for action in parser._actions if isinstance(action, argparse._SubParsersAction)), None)
    chosen = None if commands is None else getattr(args, commands.dest, None)
    return parser if chosen is None else _asked(commands.choices[chosen], args)


def _add_common(group: argparse._ActionsContainer) -> None:
    group.add_argument(
        "--registry", action="append", default=[], metavar="FILE", help="a further registry.toml, over all others"
    )
    group.add_argument(
        "--disable", action="append", default=[], metavar="PLUGIN", help="switch a plugin or distribution off"
    )
    group.add_argument("--debug", action="store_true", help="show the traceback of an error")
