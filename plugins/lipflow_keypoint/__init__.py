"""2-D keypoints as driving signal and as fitting target."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    yield Component(
        kind="encoder",
        name="keypoint",
        implementation="lipflow_keypoint.encoder:KeypointEncoder",
        config="lipflow_keypoint.config:KeypointEncoderConfig",
        summary="2-D keypoints → code, dense residual blocks",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="objective",
        name="keypoint",
        implementation="lipflow_keypoint.objective:KeypointObjective",
        config="lipflow_keypoint.config:KeypointObjectiveConfig",
        summary="Squared distance of projected landmarks to target keypoints",
        capabilities=frozenset({"cpu", "cuda"}),
    )
    yield Component(
        kind="metric",
        name="keypoint-error",
        implementation="lipflow_keypoint.metric:KeypointError",
        config="lipflow_keypoint.config:KeypointErrorConfig",
        summary="Mean distance of projected landmarks to visible keypoints, pixels",
        capabilities=frozenset({"cpu", "cuda"}),
    )
