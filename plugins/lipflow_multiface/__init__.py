"""Captures in Multiface's layout: real subjects, and simulated ones that were written to disk."""

from collections.abc import Iterator

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterator[Component]:
    """The capture `multiface`."""
    yield Component(
        kind="capture",
        name="multiface",
        implementation="lipflow_multiface.capture:MultifaceCapture",
        config="lipflow_multiface.config:MultifaceConfig",
        summary="A subject on disk in Multiface's layout, real or simulated; headset pictures filmed virtually",
        capabilities=frozenset({"real", "cpu"}),
    )
