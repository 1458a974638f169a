"""The command `new`: the first files of a plugin, whole and working."""

from collections.abc import Iterator

from lipflow_core.hooks import Command, hookimpl


@hookimpl
def lipflow_commands() -> Iterator[Command]:
    """Offer the command `new`."""
    yield Command(name="new", summary="write the first files of a new plugin", module="lipflow_new.command")
