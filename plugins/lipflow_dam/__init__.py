"""The Deep Appearance Model: the encoder and decoder that every system of the LiP-Flow paper is built on."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="encoder",
        name="dam",
        implementation="lipflow_dam.encoder:DamEncoder",
        config="lipflow_dam.config:DamEncoderConfig",
        summary="Tracked mesh and average texture → code (Deep Appearance Model)",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="decoder",
        name="dam",
        implementation="lipflow_dam.decoder:DamDecoder",
        config="lipflow_dam.config:DamDecoderConfig",
        summary="Code and view direction → mesh and view-dependent texture (Deep Appearance Model)",
        capabilities=frozenset({"cpu", "cuda"}),
    )
