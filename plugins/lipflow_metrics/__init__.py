"""Metrics of decoded codes: picture quality in the scored view, errors of vertices, jitter, and errors of the pose."""

from __future__ import annotations

from collections.abc import Iterable

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components() -> Iterable[Component]:
    for name, stem, summary in (
        ("psnr", "Psnr", "Peak signal-to-noise ratio over pixels with a mask of 1, dB"),
        ("ssim", "Ssim", "Structural similarity over pixels with a mask of 1"),
        ("geom", "Geom", "Mean squared error of standardised vertices"),
        ("millimetres", "Millimetres", "Mean distance of vertices, mm"),
        ("jitter", "Jitter", "Mean second difference of vertices over consecutive frames, mm"),
        ("pose-degrees", "PoseDegrees", "Error of the driving cameras' rotation, degrees"),
        ("pose-millimetres", "PoseMillimetres", "Error of the driving cameras' position, mm"),
    ):
        yield Component(
            kind="metric",
            name=name,
            implementation=f"lipflow_metrics.metrics:{stem}",
            config=f"lipflow_metrics.config:{stem}Config",
            summary=summary,
            capabilities=frozenset({"cpu", "cuda"}),
        )
