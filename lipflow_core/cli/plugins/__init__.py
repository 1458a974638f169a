"""`lipflow-core plugins list | info | check | doctor`."""

from __future__ import annotations

import argparse

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    from collections.abc import Callable

_KINDS = ("capture", "encoder", "prior", "flow", "coupling", "decoder", "renderer", "objective")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The four commands and their options."""
    commands = parser.add_subparsers(title="commands", metavar="list | info | check | doctor", dest="action")
    commands.required = True

    def add(name: str, **options: str) -> argparse.ArgumentParser:
        return commands.add_parser(name, formatter_class=parser.formatter_class, **options)

    listing = add("list", help="every component, and what is wrong with those that can't be used")
    listing.add_argument("--kind", choices=_KINDS, help="only components of this kind")
    listing.add_argument("--json", action="store_true", help="for scripts")
    listing.add_argument("--show-origin", action="store_true", help="which layer of the registry decided")
    listing.set_defaults(action_module="lipflow_core.cli.plugins.listing")

    info = add("info", help="one component or plugin: what it is, its options, its presets")
    _add_name(info)
    info.add_argument("--json", action="store_true", help="for scripts")
    info.set_defaults(action_module="lipflow_core.cli.plugins.info")

    check = add("check", help="run the conformance kit on a component, or on all of a plugin's")
    _add_name(check)
    check.add_argument("overrides", metavar="KEY=VALUE", nargs="*", help="options of the component, as in a spec")
    check.add_argument("--preset", default="tiny", choices=("tiny", "small", "medium", "paper"), help="default: tiny")
    check.add_argument(
        "--capture",
        nargs="+",
        metavar=("NAME", "KEY=VALUE"),
        help="a capture, with its options, that offers the observations which the component uses",
    )
    check.add_argument("--json", action="store_true", help="for scripts")
    check.set_defaults(action_module="lipflow_core.cli.plugins.check")

    doctor = add("doctor", help="what in this environment is broken, missing or slow, and its cure")
    doctor.add_argument("--json", action="store_true", help="for scripts")
    doctor.set_defaults(action_module="lipflow_core.cli.plugins.doctor")


def _add_name(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="a component, KIND/COMPONENT, or a plugin")
    parser.add_argument("--kind", choices=_KINDS, help="of which kind, where several have that name")


def run(args: argparse.Namespace) -> int:
    """Run the command that was asked for."""
    from importlib import import_module

    action: Callable[[argparse.Namespace], int] = import_module(args.action_module).run
    return action(args)
