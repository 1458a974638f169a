"""The command line: `lipflow-core COMMAND …`.

Each command is a module with `add_arguments(parser)` and `run(args) -> int`, imported only when it is called. The
core's own commands are found without loading any plugin, so that `lipflow-core train --help` is nearly as quick as
Python itself.
"""

from __future__ import annotations

import os
import sys

from lipflow_core.errors import LipflowError, StorageError
from lipflow_core.tables import printable, shortened

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit code.

    Args:
        argv: Arguments without the program's name; those of the process if None.

    Raises:
        SystemExit: If the arguments are wrong, with code 2, or ask for help, with code 0.
    """
    # Before torch is imported: its threads would else spin while they wait for each other, and on a machine that does
    # other work too, spin in each other's way.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    for stream in (sys.stdout, sys.stderr):
        # Where a terminal or file knows no arrows, their codes are written.
        if getattr(stream, "errors", None) == "strict" and hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")
    from lipflow_core.cli.arguments import take_common

    common, rest = take_common(list(sys.argv[1:] if argv is None else argv))
    import warnings

    # One line for a warning, without the source line that gave it.
    plain = warnings.formatwarning
    warnings.formatwarning = lambda message, *_, **__: f"lipflow-core: warning: {_shown(message)}\n"
    try:
        code = _called(common, rest)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        _drop_output()
        return 141
    except (Exception, KeyboardInterrupt) as error:
        from lipflow_core.cli.commands import is_full_output

        if not is_full_output(error):
            return explain(error, debug=common.debug)
        _drop_output()
        what = StorageError(f"standard output can't be written: {error}", "Make room on the disk, or write elsewhere.")
        return explain(what, debug=common.debug)
    finally:
        warnings.formatwarning = plain


def _called(common: argparse.Namespace, rest: list[str]) -> int:
    """Call the command that the arguments name; without one, tell what there is."""
    from lipflow_core.cli.arguments import ABOUT, top_parser
    from lipflow_core.cli.commands import OWN, call, call_own, listed

    name = next((word for word in rest if not word.startswith("-")), None)
    first = len(rest) if name is None else rest.index(name)
    parser = top_parser()
    asked = parser.parse_args(rest[:first])
    if asked.version:
        from lipflow_core.version import __version__

        print(f"lipflow-core {__version__}")
        return 0
    if asked.help or name is None:
        print(parser.format_help().replace(ABOUT, f"{ABOUT}\n\ncommands:\n{listed(common)}", 1), end="")
        return 0
    if name in OWN:
        return call_own(name, common, rest[first + 1 :])
    return call(name, common, rest[first + 1 :], parser)


def explain(error: BaseException, *, debug: bool) -> int:
    """Say on stderr what ended a command, and give its exit code.

    Args:
        error: Exception that the command raised.
        debug: Whether the traceback is shown; for a bug it is always shown.
    """
    known = isinstance(error, LipflowError | KeyboardInterrupt)
    if debug or not known:
        import traceback

        print(printable("".join(traceback.format_exception(error))), end="", file=sys.stderr)
    if isinstance(error, KeyboardInterrupt):
        print("lipflow-core: interrupted", file=sys.stderr)
        return 130
    if known:
        print(f"lipflow-core: error: {_shown(error)}", file=sys.stderr)
        return error.exit_code
    print(f"lipflow-core: this is a bug, please report it: {_shown(error)}", file=sys.stderr)
    return 70


def _shown(message: object) -> str:
    """Make a message safe to print: it may quote long or hostile text of a spec, a plugin or a capture."""
    return printable(shortened(str(message)))


def _drop_output() -> None:
    """Point stdout at nothing, so that the interpreter's last flush does not fail too."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
