"""A bending tube with a texture: a capture that is not a face."""

from __future__ import annotations

from collections.abc import Iterator

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterator[Component]:
    """Yield the capture `tube`."""
    yield Component(
        kind="capture",
        name="tube",
        implementation="lipflow_tube.capture:TubeCapture",
        config="lipflow_tube.config:TubeConfig",
        summary="Simulated tube that bends, twists and swells, seen by a ring of cameras and a poor probe",
        capabilities=frozenset({"simulated", "cpu"}),
    )
