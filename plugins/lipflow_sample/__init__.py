"""The command `sample`: faces drawn from a trained model's prior."""

from collections.abc import Iterator

from lipflow_core.hooks import Command, hookimpl


@hookimpl
def lipflow_commands() -> Iterator[Command]:
    """Offer the command `sample`."""
    yield Command(name="sample", summary="draw faces from a trained model's prior", module="lipflow_sample.command")
