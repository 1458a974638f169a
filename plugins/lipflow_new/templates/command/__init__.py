"""skeleton-summary."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Command, hookimpl


@hookimpl
def lipflow_commands() -> Iterable[Command]:
    """Offer the command `skeleton-name`."""
    yield Command(
        name="skeleton-name",
        summary="list the arrays in a model's weights",
        module="skeleton_plugin.command",
        api=(1, 0),
    )
