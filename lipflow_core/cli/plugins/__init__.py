"""`lipflow-core plugins list | info | check | doctor`: list, explain and check plugins."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    from collections.abc import Callable

KINDS = ("capture", "encoder", "prior", "flow", "coupling", "decoder", "renderer", "objective", "optimizer", "metric")
"""As in `lipflow_core.hooks`, which --help need not import."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the four commands and their options."""
    commands = parser.add_subparsers(title="commands", metavar="list | info | check | doctor", dest="action")
    commands.required = True

    def add(name: str, **options: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, formatter_class=parser.formatter_class, **options)

    listing = add("list", help="list components and commands, and tell why some can't be used")
    _add_kind(listing, "list this kind only")
    listing.add_argument("--json", action="store_true", help="print JSON, for scripts")
    listing.add_argument("--show-origin", action="store_true", help="show which layer of the registry decided")
    listing.set_defaults(action_module="lipflow_core.cli.plugins.listing")

    info = add("info", help="explain a component, a command or all that a plugin offers: options, presets, origin")
    info.add_argument("name", metavar="NAME", help="a component, a command, KIND/NAME, or a plugin")
    _add_kind(info, "the kind meant, where several have that name")
    info.add_argument("--json", action="store_true", help="print JSON, for scripts")
    info.set_defaults(action_module="lipflow_core.cli.plugins.info")

    check = add("check", help="run the conformance kit on a component, or on all of a plugin's")
    check.add_argument("name", metavar="NAME", help="a component, KIND/NAME, or a plugin")
    check.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="options of the component, as in a spec")
    _add_kind(check, "the kind meant, where several have that name")
    check.add_argument(
        "--preset", default="tiny", choices=("tiny", "small", "medium", "paper"), help="its sizes (default: tiny)"
    )
    check.add_argument(
        "--capture",
        nargs="+",
        metavar=("NAME", "KEY=VALUE"),
        help="a capture, with its options, that offers the observations which the component uses",
    )
    check.add_argument("--json", action="store_true", help="print JSON, for scripts")
    check.set_defaults(action_module="lipflow_core.cli.plugins.check")

    doctor = add("doctor", help="find what is broken, missing or slow in this environment, and tell its cure")
    doctor.add_argument("--json", action="store_true", help="print JSON, for scripts")
    doctor.set_defaults(action_module="lipflow_core.cli.plugins.doctor")


def _add_kind(parser: argparse.ArgumentParser, what: str) -> None:
    parser.add_argument("--kind", metavar="KIND", choices=(*KINDS, "command"), help=what)


def run(args: argparse.Namespace) -> int:
    """Run the command that was asked for."""
    from importlib import import_module

    action: Callable[[argparse.Namespace], int] = import_module(args.action_module).run
    return action(args)
