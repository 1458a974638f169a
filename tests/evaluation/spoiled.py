"""A capture for these tests, as a user's plugin: the dome's, with NaN, empty masks, or no frames at all."""

from __future__ import annotations

from lipflow_dome.config import DomeConfig

from lipflow_core.hooks import Component, hookimpl


class SpoiledConfig(DomeConfig):
    """The dome's options, and what is wrong with its held-out frames."""

    nan: str = ""
    """Observation of the last frame that holds NaN; none if empty."""
    empty: bool = False
    """Whether there are no frames."""
    hidden: str = ""
    """Observation whose masks of the last frame are empty; none if empty."""
    diary: str = ""
    """File that gets a line for each request of frames; none if empty. It is no part of the capture's identity."""
    stop: str = ""
    """The last frame can't be loaded while this file exists: as if Ctrl+C was pressed. No part of the identity."""


@hookimpl
def lipflow_components():
    yield Component(
        kind="capture",
        name="spoiled",
        implementation="spoiled_capture:SpoiledCapture",
        config="spoiled:SpoiledConfig",
        summary="The dome, spoiled",
    )
