"""Options of the metrics, and their presentation in tables. Imports no torch."""

from __future__ import annotations

from typing import ClassVar

from lipflow_core.config import MetricConfig
from lipflow_core.plans import MetricInputs, Mismatch, Plan

SSIM_WINDOW = 11


class _PictureConfig(MetricConfig):
    """Base of the metrics that compare pictures in the scored view."""

    higher_is_better: ClassVar[bool] = True

    def plan(self, given: MetricInputs) -> Plan:
        """Plan a metric that needs renderings of the scored view, and the view."""
        images = given.observations[given.view]["images"]
        return Plan(
            inputs={f"{given.view}.images": images},
            outputs={"score": ()},
            needs=(f"render:{given.view}", f"target:{given.view}"),
        )


class PsnrConfig(_PictureConfig):
    """Options of metric `psnr`."""

    heading: ClassVar[str] = "PSNR"
    unit: ClassVar[str] = "dB"
    digits: ClassVar[int] = 2
    definition: ClassVar[str] = (
        "10 log10(1 / e) in dB for colours in [0, 1], where e is the squared error averaged over the channels and over "
        "the pixels whose mask is 1; averaged over pictures, not over the pixels of all pictures. A partly masked "
        "pixel mixes surface and background, which hard-edged renderings cannot."
    )


class SsimConfig(_PictureConfig):
    """Options of metric `ssim`."""

    heading: ClassVar[str] = "SSIM"
    digits: ClassVar[int] = 4
    definition: ClassVar[str] = (
        "Structural similarity with a Gaussian window of 11 pixels (σ 1.5, no padding) and constants 0.01² and 0.03², "
        "computed on whole pictures for each channel; its map is averaged over the pixels whose mask is 1. "
        "The background is not blanked."
    )

    def plan(self, given: MetricInputs) -> Plan:
        """Plan the metric for pictures that are at least as large as its window."""
        height, width = given.observations[given.view]["images"][-2:]
        if min(height, width) < SSIM_WINDOW:
            raise Mismatch(
                f"metric 'ssim' needs pictures of at least {SSIM_WINDOW}×{SSIM_WINDOW} pixels, but '{given.view}' of "
                f"the capture has {height}×{width}; use larger pictures, or leave ssim out of evaluation.metrics"
            )
        return super().plan(given)


class _VertexConfig(MetricConfig):
    """Base of the metrics that compare vertices with the tracked surface."""

    def plan(self, given: MetricInputs) -> Plan:
        """Plan a metric that needs decoded and tracked vertices."""
        surface = given.roles.surface
        return Plan(
            inputs={f"{surface}.vertices": given.observations[surface]["vertices"]},
            outputs={"score": ()},
            needs=("vertices", f"target:{surface}"),
        )


class GeomConfig(_VertexConfig):
    """Options of metric `geom`."""

    heading: ClassVar[str] = "Geom"
    digits: ClassVar[int] = 4
    definition: ClassVar[str] = (
        "Squared error of vertices standardised by the subject's mean mesh and one scale, averaged over vertices and "
        "axes."
    )


class MillimetresConfig(_VertexConfig):
    """Options of metric `millimetres`."""

    heading: ClassVar[str] = "mm"
    unit: ClassVar[str] = "mm"
    digits: ClassVar[int] = 3
    definition: ClassVar[str] = "Distance between decoded and tracked vertices in millimetres, averaged over vertices."


class JitterConfig(MetricConfig):
    """Options of metric `jitter`."""

    heading: ClassVar[str] = "Jitter"
    unit: ClassVar[str] = "mm"
    digits: ClassVar[int] = 3
    definition: ClassVar[str] = (
        "Length of the second difference of decoded vertices over three consecutive frames of a segment, "
        "v(n-1) - 2 v(n) + v(n+1), in millimetres, averaged over vertices. Frames without a scored neighbour on both "
        "sides have none. Real motion adds to it, the same for all models."
    )

    def plan(self, given: MetricInputs) -> Plan:
        """Plan a metric that needs decoded vertices, and those of the frames before and after."""
        vertices = given.observations[given.roles.surface]["vertices"]
        return Plan(inputs={"vertices": vertices}, outputs={"score": ()}, needs=("vertices", "neighbours"))


class _PoseErrorConfig(MetricConfig):
    """Base of the metrics of the driving cameras' pose."""

    def plan(self, given: MetricInputs) -> Plan:
        """Plan a metric that needs the error of the driving cameras' pose."""
        return Plan(inputs={"pose": (3, 4)}, outputs={"score": ()}, needs=("pose",))


class PoseDegreesConfig(_PoseErrorConfig):
    """Options of metric `pose-degrees`."""

    heading: ClassVar[str] = "Rotation"
    unit: ClassVar[str] = "°"
    digits: ClassVar[int] = 2
    definition: ClassVar[str] = (
        "Angle in degrees by which the driving cameras are turned from the true ones, after fitting.pose and "
        "fitting.perturbation; none where neither is used."
    )


class PoseMillimetresConfig(_PoseErrorConfig):
    """Options of metric `pose-millimetres`."""

    heading: ClassVar[str] = "Shift"
    unit: ClassVar[str] = "mm"
    digits: ClassVar[int] = 2
    definition: ClassVar[str] = (
        "Distance in millimetres by which the pose of the driving cameras displaces the head's origin, after "
        "fitting.pose and fitting.perturbation; none where neither is used."
    )
