"""Pictures show each vertex where the cameras that come with them project it, to a tenth of a pixel.

The dome's skin is painted black with a small bright blob about some of its vertices; then its pictures are drawn,
written in Multiface's layout, and read again. Blobs' centres of brightness are compared with what text and binary
files tell.
"""

from __future__ import annotations

import numpy as np
import pytest
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig
from lipflow_dome.occlusion import vertex_normals
from lipflow_multiface.capture import MultifaceCapture
from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.writing import write_capture

from lipflow_core.interfaces import FrameRequest
from lipflow_core.plans import CaptureInputs

SIGMA, APART = 0.4, 12.0
"""Size of a blob and the least distance between two, millimetres."""


def spots(head):
    """Vertices of the skin's smooth parts, far from each other, from eyes, nostrils, mouth and ears."""
    asset, points = head.asset, head.neutral
    normals = vertex_normals(asset, points)
    smooth = np.full(len(points), 1.0)
    for pair in ([0, 1], [1, 2], [2, 0]):
        one, other = asset.triangles[:, pair].T
        bend = (normals[one] * normals[other]).sum(1)
        np.minimum.at(smooth, one, bend)
        np.minimum.at(smooth, other, bend)
    away = [vertex for name, vertex in asset.anchors.items() if name.startswith(("eye", "lip", "mouth", "nose"))]
    clear = np.linalg.norm(points[:, None] - points[away], axis=-1).min(1) > 8
    skin = np.isin(np.arange(len(points)), asset.part_vertices("skin"))
    chosen = []
    for vertex in np.flatnonzero(skin & clear & (smooth > 0.97) & (normals[:, 2] > 0.5)):
        if all(np.linalg.norm(points[vertex] - points[other]) > APART for other in chosen):
            chosen.append(vertex)
    return np.array(chosen)


@pytest.fixture(scope="module")
def painted(tmp_path_factory):
    folder = tmp_path_factory.mktemp("painted")
    options = {"texture": 768, "image": (384, 384), "cameras": 3, "workers": 1}
    options |= {"sequences": 2, "frames_per_sequence": 1, "held_out_sequences": 1, "cache": folder / "cache"}
    plain = dict.fromkeys(("gain", "offset", "gradient", "background", "noise"), 0)
    config = DomeConfig(**options, headset={"size": (240, 320), **plain})
    capture = DomeCapture(config, CaptureInputs())
    shader, vertices = capture.film.shader, spots(capture.film.head)
    at_rest = shader.surface.locate(capture.film.head.neutral[None].astype(np.float32))[0][0]
    around = [
        np.flatnonzero(np.linalg.norm(at_rest - place, axis=1) < 6.0) for place in capture.film.head.neutral[vertices]
    ]

    def paint(mesh, expression, pose, viewpoints):
        points = shader.surface.locate(mesh)[0]
        blobs = np.zeros(points.shape[:2], np.float32)
        for vertex, texels in zip(vertices, around, strict=True):
            off = points[:, texels] - mesh[:, None, vertex]
            blobs[:, texels] += np.exp(-(off**2).sum(-1) / (2 * SIGMA**2))
        colors = np.repeat(blobs[:, None, :, None], viewpoints.shape[1], 1) * np.ones(3, np.float32)
        return colors, np.ones(colors.shape[:3], np.float32)

    shader.shade = paint
    shader.blank = np.zeros(3, np.float32)
    write_capture(capture, folder / "subject", style="none")
    read = MultifaceCapture(MultifaceConfig(path=folder / "subject"), CaptureInputs())
    split = read.split("train")
    frame = split.load(FrameRequest(np.arange(2), ("face", "dome", "headset"), np.tile(np.arange(3), (2, 1))))
    return capture.film.head.asset, vertices, frame


def errors(asset, vertices, mesh, views, row, view):
    """How far each blob that a camera sees well and whole lies from its vertex, pixels; (n, 2)."""
    camera = views.camera.apply(lambda tensor: tensor[row, view].double())
    places, depth = (values[vertices].numpy() for values in camera.project(mesh.double()))
    toward = camera.position.numpy() - mesh.numpy()[vertices]
    toward /= np.linalg.norm(toward, axis=1, keepdims=True)
    cosine = (vertex_normals(asset, mesh.double().numpy())[vertices] * toward).sum(1)
    scale = camera.intrinsics[0, 0].item() / depth
    picture = views.images[row, view].mean(0).numpy()
    pixels = np.stack(np.meshgrid(*map(np.arange, picture.shape[::-1])), -1)
    found = []
    for index in np.flatnonzero(cosine > 0.7):
        off = pixels - places[index]
        weight = np.where(np.linalg.norm(off, axis=-1) < 5 * SIGMA * scale[index], picture, 0)
        whole = 2 * np.pi * (SIGMA * scale[index]) ** 2 * cosine[index]
        if weight.sum() > 0.8 * whole:  # else it is hidden by another part, or at the picture's edge
            found.append((weight[..., None] * off).sum((0, 1)) / weight.sum())
    return np.array(found)


@pytest.mark.parametrize("name", ["dome", "headset"])
@pytest.mark.parametrize("view", range(3))
def test_blobs_lie_where_vertices_project(painted, name, view):
    """To 0.1 pixels, save where skin bends within a blob, which moves its centre; on average those bends even out."""
    asset, vertices, frame = painted
    off = np.concatenate(
        [errors(asset, vertices, frame["face"].vertices[row], frame[name], row, view) for row in range(2)]
    )
    assert len(off) >= 8
    assert (np.linalg.norm(off, axis=1) < 0.1).mean() > 0.7
    assert np.abs(off.mean(0)).max() < 0.06
