"""The command `drive`: headset pictures that a user has, through a model's driving encoder, to faces."""

from collections.abc import Iterator

from lipflow_core.hooks import Command, hookimpl


@hookimpl
def lipflow_commands() -> Iterator[Command]:
    """Offer the command `drive`."""
    yield Command(
        name="drive",
        summary="predict faces from a folder of headset pictures, without fitting",
        module="lipflow_drive.command",
    )
