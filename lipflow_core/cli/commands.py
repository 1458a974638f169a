"""Lists and calls commands: the core's own, which stand in a table, and those of plugins."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from importlib import import_module

from lipflow_core.cli.arguments import Parser, command_parser, parse
from lipflow_core.errors import LipflowError, PluginError
from lipflow_core.spelling import canonical, did_you_mean
from lipflow_core.tables import printable, terminal_width

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator
    from types import ModuleType

    from lipflow_core.hooks import Command
    from lipflow_core.registry import Plugin, Registry

OWN = {
    "assemble": ("check a spec, plan its model and build it", "lipflow_core.cli.assemble"),
    "train": ("train a spec's model on its capture", "lipflow_core.cli.train"),
    "fit": ("fit a trained model to poor observations", "lipflow_core.cli.fit"),
    "evaluate": ("score fits on held-out frames", "lipflow_core.cli.evaluate"),
    "ablate": ("run a grid of systems and tasks", "lipflow_core.cli.ablate"),
}
"""The core's own commands: name → summary and module."""

CORE = "lipflow-core"
"""Distribution of the core's own commands."""


def listed(common: argparse.Namespace) -> str:
    """List all commands for `--help`, one line each, and plugins that fail to load. Imports no command."""
    registry, fault = _registry(common)
    rows = {**{name: summary for name, (summary, _) in OWN.items()}, **dict(_rows(registry))}
    if fault is not None:
        rows["…"] = f"commands of other plugins can't be listed: {fault.message}"
    indent, width = max(map(len, rows)) + 4, terminal_width(sys.stdout)
    lines = [f"  {name:<{indent - 2}}{text}" for name, text in rows.items()]
    lines = [printable(line, lines=False) for line in lines]
    return "\n".join(line if len(line) < width else f"{line[: width - 2]}…" for line in lines)


def _rows(registry: Registry) -> Iterator[tuple[str, str]]:
    """Yield name and text of every command of plugins, of clashes, and of plugins that can't be used."""
    for command in registry.commands():
        lacking = registry.missing(command)
        yield command.name, f"{command.summary} (needs {', '.join(lacking)})" if lacking else command.summary
    for name, offers in clashes(registry).items():
        yield name, f"clash: offered by {' and '.join(_distribution(plugin) for plugin, _ in offers)}"
    for refusal in registry.refusals:
        if refusal.offer.kind == "command":
            yield refusal.offer.name, f"refused: {refusal.reason}"
    for plugin in registry.plugins.values():
        if plugin.status == "broken":
            yield plugin.name, f"broken: {plugin.cause}"


def offers_of(name: str, registry: Registry) -> list[tuple[Plugin | None, Command | None]]:
    """List the offers of a command as pairs (plugin, command); (None, None) stands for the core.

    Args:
        name: Name of the command, or "PLUGIN:NAME" or "DISTRIBUTION:NAME" for the offer of this owner only.
        registry: Registry of the plugins.
    """
    owner, _, bare = name.rpartition(":")
    offers = [(registry.plugin(command), command) for command in registry.commands() if command.name == bare]
    if bare in OWN:
        offers.insert(0, (None, None))
    if owner:
        offers = [
            (plugin, command)
            for plugin, command in offers
            if (plugin is not None and owner == plugin.name) or canonical(owner) == canonical(_distribution(plugin))
        ]
    return offers


def clashes(registry: Registry) -> dict[str, list[tuple[Plugin | None, Command | None]]]:
    """Collect the offers of every name that more than one plugin offers; the core counts as one."""
    groups = {command.name: offers_of(command.name, registry) for command in registry.commands()}
    return {name: offers for name, offers in groups.items() if len(offers) > 1}


def clash(name: str, offers: list[tuple[Plugin | None, Command | None]]) -> PluginError:
    """Make the error for a command that several offer."""
    bare = name.rpartition(":")[2]
    owners = [f"'{CORE}' itself" if p is None else f"'{p.distribution}' (plugin {p.name})" for p, _ in offers]
    spelt = [f"lipflow-core {CORE if plugin is None else plugin.name}:{bare}" for plugin, _ in offers]
    return PluginError(
        f"command '{name}' is offered by {' and '.join(owners)}",
        f"call one of them as {' or '.join(spelt)}, or switch one off with --disable {offers[-1][0].name}",
    )


def call_own(name: str, common: argparse.Namespace, arguments: list[str]) -> int:
    """Call one of the core's own commands.

    Raises:
        PluginError: If a plugin offers a command of this name too.
    """
    bare = name.rpartition(":")[2]
    summary, module = OWN[bare]
    command, parser = import_module(module), command_parser(bare, summary)
    command.add_arguments(parser)
    args = parse(parser, arguments, common)
    offers = offers_of(name, _registry(common)[0])
    if len(offers) > 1:
        raise clash(name, offers)
    try:
        return command.run(args) or 0
    except SystemExit as stop:
        raise PluginError(
            f"a plugin that this command uses called sys.exit({stop.code!r})", "--debug shows which one"
        ) from stop


def call(name: str, common: argparse.Namespace, arguments: list[str], top: Parser) -> int:
    """Call a command of a plugin.

    Raises:
        PluginError: If several offer it, if it is for another plugin API, or if it fails by a fault of its own.
    """
    registry, fault = _registry(common)
    offers = offers_of(name, registry)
    if len(offers) > 1:
        raise clash(name, offers)
    if not offers and fault is not None:
        raise fault
    if not offers:
        _refuse(name, registry, top)
    plugin, command = offers[0]
    if command is None:
        return call_own(name, common, arguments)
    module = load(command)
    parser = command_parser(name, command.summary)
    with _blamed(plugin, command):
        module.add_arguments(parser)
    with _blamed(plugin, command, exits=True):  # argparse ends with code 2, or 0 for help
        args = parse(parser, arguments, common)
    with _blamed(plugin, command):
        code = module.run(args)
        if not isinstance(code, int | None):
            raise TypeError(f"run(args) returned {code!r}, not an exit code")
    return code or 0


def load(command: Command) -> ModuleType:
    """Import a command's module.

    Raises:
        PluginError: If that fails, or it lacks one of its two functions.
    """
    from lipflow_core.registry import load_object

    module = load_object(command.module, command)
    lacking = [name for name in ("add_arguments", "run") if not callable(getattr(module, name, None))]
    if lacking:
        raise PluginError(
            f"command '{command.name}': its module {command.module} has no function {' and no '.join(lacking)}",
            "a command's module has add_arguments(parser) and run(args)",
        )
    return module


def is_full_output(error: BaseException) -> bool:
    """Tell whether standard output could not be written for lack of room; storage tells of named files itself."""
    import errno

    full = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    return isinstance(error, OSError) and error.filename is None and error.errno in full


@contextmanager
def _blamed(plugin: Plugin, command: Command, *, exits: bool = False) -> Iterator[None]:
    """Turn an exception that is not of `lipflow_core.errors` into a PluginError that names the plugin."""
    from lipflow_core.registry.discovery import describe

    try:
        yield
    except (LipflowError, BrokenPipeError):
        raise
    except (Exception, SystemExit) as error:
        if is_full_output(error) or (exits and isinstance(error, SystemExit)):
            raise
        raise PluginError(
            f"command '{command.name}' of plugin {plugin.name} ({plugin.distribution}) failed: {describe(error)}",
            f"tell the author of {plugin.distribution}; --debug shows where it failed",
        ) from error


def _refuse(name: str, registry: Registry, top: Parser) -> None:
    """Say that there is no such command."""
    for refusal in registry.refusals:
        if refusal.offer.kind == "command" and refusal.offer.name == name.rpartition(":")[2]:
            raise PluginError(refusal.reason, refusal.hint)
    known = [*OWN, *(command.name for command in registry.commands())]
    hints = [did_you_mean(name, known), *registry.absent()]
    top.stop("\n  ".join([f"there is no command '{name}'", *filter(None, hints), "lipflow-core --help lists them all"]))


def _distribution(plugin: Plugin | None) -> str:
    return CORE if plugin is None else plugin.distribution


def _registry(common: argparse.Namespace) -> tuple[Registry, PluginError | None]:
    """Return the registry. If a registry.toml can't be read, return that of installed plugins, and the error.

    The command that diagnoses such errors is itself a plugin's. A command that needs the registry raises the error.
    """
    from lipflow_core.registry import default_registry, installed_registry, set_command_line

    set_command_line(common.registry, common.disable)
    try:
        return default_registry(), None
    except PluginError as error:
        return installed_registry(), error
