"""The shipped renderers.

`torch` is the oracle, the definition of pictures and gradients. `cpu` is the fast renderer for CPUs, `warp` that for
NVIDIA GPUs. `drtk` and `nvdiffrast` adapt packages that the user installed.
"""

from lipflow_core.hooks import Component, hookimpl
from lipflow_render.adapters.packages import DRTK, NVDIFFRAST


@hookimpl
def lipflow_components():
    yield Component(
        kind="renderer",
        name="torch",
        implementation="lipflow_render.oracle:TorchRenderer",
        config="lipflow_render.config:TorchRendererConfig",
        summary="Plain torch on any device: slow and clear, the definition of what the others compute",
        capabilities=frozenset({"cpu", "cuda", "float64"}),
    )
    yield Component(
        kind="renderer",
        name="cpu",
        implementation="lipflow_render.cpu:CpuRenderer",
        config="lipflow_render.config:CpuRendererConfig",
        summary="Fused kernels compiled with numba: the fast renderer for CPUs",
        capabilities=frozenset({"cpu", "float64"}),
    )
    yield Component(
        kind="renderer",
        name="drtk",
        implementation="lipflow_render.adapters.drtk_renderer:DrtkRenderer",
        config="lipflow_render.config:DrtkRendererConfig",
        summary="Adapter to Meta's DRTK (MIT licence), if you installed it",
        capabilities=frozenset({"cpu", "cuda", "float64"}),
        requires=(DRTK.name,),
        install=DRTK.install,
    )
    yield Component(
        kind="renderer",
        name="nvdiffrast",
        implementation="lipflow_render.adapters.nvdiffrast_renderer:NvdiffrastRenderer",
        config="lipflow_render.config:NvdiffrastRendererConfig",
        summary="Adapter to NVIDIA's nvdiffrast (licence: not for commercial use), if you installed it",
        capabilities=frozenset({"cuda"}),
        requires=(NVDIFFRAST.name,),
        install=NVDIFFRAST.install,
    )
    yield Component(
        kind="renderer",
        name="warp",
        implementation="lipflow_render.warp:WarpRenderer",
        config="lipflow_render.config:WarpRendererConfig",
        summary="Kernels in NVIDIA Warp for CUDA and the CPU; needs no CUDA toolkit",
        capabilities=frozenset({"cpu", "cuda", "float64"}),
        requires=("warp",),
        install="pip install 'warp-lang>=1.19'",
    )
