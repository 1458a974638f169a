"""A capture for these tests, as a user's plugin: the dome's, with NaN in an observation or with no frames at all."""

from __future__ import annotations

from lipflow_dome.config import DomeConfig

from lipflow_core.hooks import Component, hookimpl


class SpoiledConfig(DomeConfig):
    """The dome's options, and what is wrong with its held-out frames."""

    nan: str = ""
    """Observation of the last frame that holds NaN; none if empty."""
    empty: bool = False
    """Whether there are no frames."""


@hookimpl
def lipflow_components():
    yield Component(
        kind="capture",
        name="spoiled",
        implementation="spoiled_capture:SpoiledCapture",
        config="spoiled:SpoiledConfig",
        summary="The dome, spoiled",
    )
