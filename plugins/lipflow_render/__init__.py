"""Shipped renderers: `torch`, which defines what a picture and its gradients are, and `cpu`, which is fast."""

from lipflow_core.hooks import Component, hookimpl


@hookimpl
def lipflow_components():
    yield Component(
        kind="renderer",
        name="torch",
        implementation="lipflow_render.oracle:TorchRenderer",
        config="lipflow_render.config:TorchRendererConfig",
        summary="Plain torch on any device: slow, clear, the definition of what the others compute",
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
