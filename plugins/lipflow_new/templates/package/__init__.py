"""skeleton-summary."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="skeleton-kind",
        name="skeleton-name",
        implementation="skeleton_plugin.skeleton_kind:SkeletonClass",
        config="skeleton_plugin.config:SkeletonClassConfig",
        summary="skeleton-summary",
        api=(1, 0),
        capabilities=frozenset({"cpu", "cuda"}),
    )
