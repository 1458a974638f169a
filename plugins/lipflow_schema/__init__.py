"""The command `schema`: the JSON Schema of specs, for completion in an editor."""

from collections.abc import Iterator

from lipflow_core.hooks import Command, hookimpl


@hookimpl
def lipflow_commands() -> Iterator[Command]:
    """Offer the command `schema`."""
    yield Command(
        name="schema",
        summary="print the JSON Schema of specs, with every enabled plugin",
        module="lipflow_schema.command",
    )
