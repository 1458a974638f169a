"""Options of the shipped renderers."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lipflow_core.config import Config
from lipflow_core.plans import Mismatch, Plan, RendererInputs
from lipflow_render.adapters.packages import DRTK, NVDIFFRAST, Package


class RendererConfig(Config):
    """Options that all shipped renderers have."""

    near: float = Field(default=1.0, gt=0)
    """Near plane, in millimetres along the optical axis: surface nearer to the camera than this is cut away."""
    edge_gradients: bool = True
    """Whether gradients include the motion of silhouettes and self-occlusions."""

    renderer: ClassVar[str]
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")
    package: ClassVar[Package | None] = None

    def plan(self, given: RendererInputs) -> Plan:
        if given.device not in self.devices:
            devices, instead = " and ".join(self.devices), "; use renderer 'warp'" if given.device == "cuda" else ""
            raise Mismatch(f"renderer '{self.renderer}' runs on {devices}, not on device '{given.device}'{instead}")
        if len(given.texture) != 3:
            raise Mismatch(
                f"renderer '{self.renderer}' draws textures of shape (C, H, W), but the decoder's has {given.texture}"
            )
        if self.package is not None:
            self.package.check_genuine()
        return Plan(
            inputs={"vertices": (given.vertices, 3), "texture": tuple(given.texture)},
            outputs={"image": (given.texture[0],)},
            devices=self.devices,
        )


class TorchRendererConfig(RendererConfig):
    """Options of renderer `torch`."""

    candidates: int = Field(default=1 << 21, ge=1)
    """Number of pixel-triangle pairs that are tested at once while rasterising; fewer need less memory."""

    renderer: ClassVar[str] = "torch"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda", "mps", "xpu")


class CpuRendererConfig(RendererConfig):
    """Options of renderer `cpu`."""

    renderer: ClassVar[str] = "cpu"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)


class DrtkRendererConfig(RendererConfig):
    """Options of renderer `drtk`, which draws with the installed DRTK.

    Triangles with a corner nearer than `near` are not drawn.
    """

    renderer: ClassVar[str] = "drtk"
    package: ClassVar[Package | None] = DRTK


class NvdiffrastRendererConfig(RendererConfig):
    """Options of renderer `nvdiffrast`, which draws with the installed nvdiffrast, on NVIDIA GPUs and in float32."""

    renderer: ClassVar[str] = "nvdiffrast"
    devices: ClassVar[tuple[str, ...]] = ("cuda",)
    package: ClassVar[Package | None] = NVDIFFRAST


class WarpRendererConfig(RendererConfig):
    """Options of renderer `warp`."""

    renderer: ClassVar[str] = "warp"
