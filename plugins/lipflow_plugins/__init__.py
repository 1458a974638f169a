"""The command `plugins`: list, explain and check plugins."""

from collections.abc import Iterator

from lipflow_core.hooks import Command, hookimpl


@hookimpl
def lipflow_commands() -> Iterator[Command]:
    """Offer the command `plugins`."""
    yield Command(name="plugins", summary="list, explain and check plugins", module="lipflow_plugins.command")
