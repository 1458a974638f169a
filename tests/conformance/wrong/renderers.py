"""Wrong renderers."""

from __future__ import annotations

from dataclasses import replace

from lipflow_render.oracle import TorchRenderer

from lipflow_core.records import Rendering


class _Changed(TorchRenderer):
    """Changes what was drawn by `change`."""

    def render(self, vertices, texture, topology, camera, background):
        return self.change(super().render(vertices, texture, topology, camera, background), vertices)

    def change(self, made: Rendering, vertices) -> Rendering:
        raise NotImplementedError


class Unweighted(_Changed):
    def change(self, made, vertices):
        return replace(made, barycentric=2 * made.barycentric)


class UpsideDown(TorchRenderer):
    def render(self, vertices, texture, topology, camera, background):
        return super().render(vertices, texture.flip(2), topology, camera, background)


class Farthest(TorchRenderer):
    def _rasterize(self, seen, triangles, height, width):
        # Each vertex moved along its ray to the inverse of its depth: the order along rays is reversed.
        return super()._rasterize(seen * 1e5 / seen[:, 2:].square(), triangles, height, width)


class Black(TorchRenderer):
    def render(self, vertices, texture, topology, camera, background):
        return super().render(vertices, texture, topology, camera, None)


class OneEach(TorchRenderer):
    def render(self, vertices, texture, topology, camera, background):
        if len(texture) != len(vertices):
            raise ValueError("needs a texture for each sample")
        return super().render(vertices, texture, topology, camera, background)


class NeverEmpty(TorchRenderer):
    def render(self, vertices, texture, topology, camera, background):
        if len(vertices) == 0:
            raise ValueError("no samples")
        return super().render(vertices, texture, topology, camera, background)


class Drifting(_Changed):
    calls = 0

    def change(self, made, vertices):
        self.calls += 1
        return replace(made, image=made.image + 3e-7 * (self.calls - 1) * made.coverage[:, None])


class HalfTexture(TorchRenderer):
    def render(self, vertices, texture, topology, camera, background):
        half = (texture + texture.detach()) / 2
        return super().render(vertices, half, topology, camera, background)


class NoSilhouettes(_Changed):
    """Gradients go through what is interpolated within triangles alone."""

    def change(self, made, vertices):
        return replace(made, coverage=made.coverage.detach() + 0 * made.depth)


class Fragile(_Changed):
    """Divides by the size of the mesh, and has no gradient where that is zero."""

    def change(self, made, vertices):
        size = vertices.var(dim=(1, 2)).sqrt() if len(vertices) else vertices.new_zeros(0)
        return replace(made, image=made.image + 0 * size[:, None, None, None])
