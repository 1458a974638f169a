"""Captures in Multiface's layout, real or simulated, and the commands that write, check, show and pack them."""

from collections.abc import Iterator

from lipflow_core.hooks import Command, Component, hookimpl

CAPTURE = Component(
    kind="capture",
    name="multiface",
    implementation="lipflow_multiface.capture:MultifaceCapture",
    config="lipflow_multiface.config:MultifaceConfig",
    summary="A subject on disk in Multiface's layout, real or simulated; headset pictures filmed virtually",
    capabilities=frozenset({"real", "cpu"}),
)


@hookimpl
def lipflow_components() -> Iterator[Component]:
    """Offer the capture `multiface`."""
    yield CAPTURE


@hookimpl
def lipflow_commands() -> Iterator[Command]:
    """Offer the command `capture`."""
    yield Command(
        name="capture",
        summary="simulate, check, look at and pack captures on disk",
        module="lipflow_multiface.commands",
    )
