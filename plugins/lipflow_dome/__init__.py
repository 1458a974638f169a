"""The simulated capture dome: a parametric head, filmed by calibrated cameras and a headset."""

from collections.abc import Iterator

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterator[Component]:
    """Offer the capture `dome`."""
    yield Component(
        kind="capture",
        name="dome",
        implementation="lipflow_dome.capture:DomeCapture",
        config="lipflow_dome.config:DomeConfig",
        summary="Simulated capture of a CC0 head: expressions, view-dependent skin, dome and headset cameras",
        capabilities=frozenset({"simulated", "cpu"}),
    )
