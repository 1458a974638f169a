"""Options of the shipped renderers."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from lipflow_core.config import Config
from lipflow_core.plans import Mismatch, Plan, RendererInputs
from lipflow_render.adapters.packages import DRTK, NVDIFFRAST


class RendererConfig(Config):
    """What every shipped renderer can be told."""

    near: float = Field(default=1.0, gt=0)
    """Surface nearer to the camera than this is cut away, in millimetres along the optical axis."""
    edge_gradients: bool = True
    """Whether gradients include the motion of silhouettes and self-occlusions."""

    renderer: ClassVar[str]
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def plan(self, given: RendererInputs) -> Plan:
        if given.device not in self.devices:
            devices, instead = " and ".join(self.devices), "; renderer 'warp' does" if given.device == "cuda" else ""
            raise Mismatch(f"renderer '{self.renderer}' runs on {devices}, not on device '{given.device}'{instead}")
        if len(given.texture) != 3:
            raise Mismatch(f"renderer '{self.renderer}' draws a texture (C, H, W), the model makes {given.texture}")
        return Plan(
            inputs={"vertices": (given.vertices, 3), "texture": tuple(given.texture)},
            outputs={"image": (given.texture[0],)},
            devices=self.devices,
        )


class TorchRendererConfig(RendererConfig):
    """Options of renderer `torch`."""

    candidates: int = Field(default=1 << 21, ge=1)
    """Pixel-triangle pairs tested at once while rasterising: bounds the memory."""

    renderer: ClassVar[str] = "torch"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda", "mps", "xpu")


class CpuRendererConfig(RendererConfig):
    """Options of renderer `cpu`."""

    renderer: ClassVar[str] = "cpu"
    devices: ClassVar[tuple[str, ...]] = ("cpu",)


class DrtkRendererConfig(RendererConfig):
    """Options of renderer `drtk`: Meta's DRTK as you installed it.

    Triangles that reach nearer than `near` are left out whole.
    """

    renderer: ClassVar[str] = "drtk"
    devices: ClassVar[tuple[str, ...]] = ("cpu", "cuda")

    def plan(self, given: RendererInputs) -> Plan:
        planned = super().plan(given)
        DRTK.check_genuine()
        return planned


class NvdiffrastRendererConfig(RendererConfig):
    """Options of renderer `nvdiffrast`: NVIDIA's nvdiffrast as you installed it, on NVIDIA GPUs, in float32."""

    renderer: ClassVar[str] = "nvdiffrast"
    devices: ClassVar[tuple[str, ...]] = ("cuda",)

    def plan(self, given: RendererInputs) -> Plan:
        planned = super().plan(given)
        NVDIFFRAST.check_genuine()
        return planned


class WarpRendererConfig(RendererConfig):
    """Options of renderer `warp`."""

    renderer: ClassVar[str] = "warp"
