"""Headset-mounted cameras as driving signal: the encoder of a few grey views of parts of the face."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="encoder",
        name="hmc",
        implementation="lipflow_hmc.encoder:HmcEncoder",
        config="lipflow_hmc.config:HmcEncoderConfig",
        summary="Headset pictures → code, one block of convolutions per view and attention over views",
        capabilities=frozenset({"cpu", "cuda"}),
    )
