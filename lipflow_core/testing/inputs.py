"""Small inputs of every kind: what components are built for and fed with in the conformance kit."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from lipflow_core.hooks import Kind
from lipflow_core.plans import (
    CaptureInputs,
    CouplingInputs,
    DecoderInputs,
    EncoderInputs,
    FlowInputs,
    MetricInputs,
    ObjectiveInputs,
    Plan,
    PriorInputs,
    RendererInputs,
    Roles,
)
from lipflow_core.records import Camera, Encoding, FaceState, Frame, Keypoints, Template, Topology, Views

if TYPE_CHECKING:
    from lipflow_core.parts import Part
    from lipflow_core.registry import Registry

CODE = 6
FEATURES = 10
VERTICES = 42
TEXTURE = 32
LANDMARKS = 12
VIEWS = {"dome": (2, 3, 32, 32), "frontal": (1, 3, 32, 32), "headset": (3, 1, 24, 32)}

OBSERVATIONS = {
    "face": {"vertices": (VERTICES, 3), "texture": (3, TEXTURE, TEXTURE)},
    "keypoints": {"points": (LANDMARKS, 2), "visible": (LANDMARKS,)},
    **{name: {"images": shape, "mask": (shape[0], *shape[2:])} for name, shape in VIEWS.items()},
}

ROLES = Roles(surface="face", training_views="dome", scored_view="frontal")

DRIVING = Plan(outputs={"mean": (CODE,), "log_std": (CODE,), "features": (FEATURES,)}, needs=("headset",))


def default_inputs(kind: Kind, part: Part, registry: Registry) -> Any:
    """The inputs of a kind at the kit's sizes.

    A prior gets a driving encoder and a flow exactly if it takes them, which its plan tells.
    """
    match kind:
        case "capture":
            return CaptureInputs()
        case "encoder":
            return EncoderInputs(code=CODE, observations=OBSERVATIONS, roles=ROLES)
        case "prior":
            return _prior_inputs(part, registry)
        case "flow":
            return FlowInputs(features=CODE, context=FEATURES)
        case "coupling":
            return CouplingInputs(features=CODE, context=FEATURES, hidden=16, blocks=1)
        case "decoder":
            return DecoderInputs(code=CODE, vertices=VERTICES, texture=(3, TEXTURE, TEXTURE))
        case "renderer":
            return RendererInputs(device="cpu", vertices=VERTICES, triangles=80, texture=(3, TEXTURE, TEXTURE))
        case "objective":
            return ObjectiveInputs(
                code=CODE, observations=OBSERVATIONS, roles=ROLES, landmarks=LANDMARKS, has_driving=True
            )
        case "metric":
            return MetricInputs(
                code=CODE, observations=OBSERVATIONS, roles=ROLES, view=ROLES.scored_view, landmarks=LANDMARKS
            )


def _prior_inputs(part: Part, registry: Registry) -> PriorInputs:
    """The first of: with driving and without flow, with neither, and the same with a flow, that the prior plans."""
    from pydantic import TypeAdapter

    from lipflow_core.parts import FlowSlot
    from lipflow_core.plans import Mismatch

    flows = [None]
    if registry.names("flow"):
        name = "glow" if "glow" in registry.names("flow") else registry.names("flow")[0]
        flows.append(TypeAdapter(FlowSlot).validate_python(name, context={"registry": registry, "preset": "tiny"}))
    refusals = []
    for flow in flows:
        for driving in (DRIVING, None):
            given = PriorInputs(
                code=CODE, driving=driving, driving_name=None if driving is None else "driving", flow=flow
            )
            try:
                part.plan(given)
            except Mismatch as refusal:
                refusals.append(str(refusal))
            else:
                return given
    raise Mismatch("prior '{}' refuses every input of the kit: {}".format(part.name, "; ".join(refusals)))


def normal(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Standard normal numbers by seed."""
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def uniform(seed: int, *shape: int, dtype: torch.dtype = torch.float32) -> Tensor:
    """Numbers in [0, 1) by seed."""
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def sphere(dtype: torch.dtype = torch.float32, subdivisions: int = 1) -> tuple[Tensor, Topology]:
    """A closed mesh: an icosahedron, subdivided, of radius 80 mm; at one subdivision 42 vertices, 80 triangles.

    Returns:
        vertices (V, 3) and topology, its uv one planar projection.
    """
    golden = (1 + 5**0.5) / 2
    corners = [(0, s, t * golden) for s in (-1, 1) for t in (-1, 1)]
    corners = [c[i:] + c[:i] for c in corners for i in range(3)]
    points = [torch.tensor(c, dtype=torch.float64) for c in corners]
    edge = 2.0
    triangles = [
        (i, j, k)
        for i in range(12)
        for j in range(i + 1, 12)
        for k in range(j + 1, 12)
        if all(abs(float((points[a] - points[b]).norm()) - edge) < 1e-6 for a, b in ((i, j), (j, k), (i, k)))
    ]
    for _ in range(subdivisions):
        middles: dict[tuple[int, int], int] = {}
        finer = []
        for a, b, c in triangles:
            ends = []
            for i, j in ((a, b), (b, c), (c, a)):
                key = (min(i, j), max(i, j))
                if key not in middles:
                    middles[key] = len(points)
                    points.append((points[i] + points[j]) / 2)
                ends.append(middles[key])
            ab, bc, ca = ends
            finer += [(a, ab, ca), (b, bc, ab), (c, ca, bc), (ab, bc, ca)]
        triangles = finer
    vertices = torch.nn.functional.normalize(torch.stack(points), dim=-1) * 80.0
    faces = torch.tensor(triangles)
    corners_of = vertices[faces]
    normals = torch.linalg.cross(corners_of[:, 1] - corners_of[:, 0], corners_of[:, 2] - corners_of[:, 0])
    inward = (normals * corners_of.mean(1)).sum(-1) < 0
    faces[inward] = faces[inward].flip(-1)
    uv = vertices[:, :2] / 180.0 + 0.5
    return vertices.to(dtype), Topology(faces, uv.to(dtype), faces.clone())


def template(dtype: torch.dtype = torch.float32) -> Template:
    """The template of a spherical head."""
    vertices, topology = sphere(dtype)
    return Template(
        topology=topology,
        vertices_mean=vertices,
        vertices_scale=torch.tensor(3.0, dtype=dtype),
        texture_mean=uniform(1, 3, TEXTURE, TEXTURE, dtype=dtype),
        texture_scale=torch.tensor(0.2, dtype=dtype),
        landmarks=torch.arange(LANDMARKS),
    )


def cameras(batch: int, views: int, height: int, width: int, dtype: torch.dtype = torch.float32) -> Camera:
    """Cameras 400 mm in front of the head, side by side, that see the whole sphere; leading axes (B, N)."""
    focal = 1.6 * min(height, width)
    intrinsics = torch.tensor(
        [[focal, 0, (width - 1) / 2], [0, focal, (height - 1) / 2], [0, 0, 1]], dtype=dtype
    ).expand(batch, views, 3, 3)
    angles = torch.linspace(-0.4, 0.4, views, dtype=dtype) if views > 1 else torch.zeros(views, dtype=dtype)
    cos, sin, zero, one = angles.cos(), angles.sin(), torch.zeros_like(angles), torch.ones_like(angles)
    turn = torch.stack([cos, zero, sin, zero, one, zero, -sin, zero, cos], dim=-1).reshape(views, 3, 3)
    upright = torch.diag(torch.tensor([1.0, -1.0, -1.0], dtype=dtype))
    extrinsics = torch.cat([upright @ turn, torch.tensor([0.0, 0, 400], dtype=dtype).expand(views, 3)[..., None]], -1)
    return Camera(intrinsics, extrinsics.expand(batch, views, 3, 4), height, width)


def frame(batch: int, *, seed: int = 0, dtype: torch.dtype = torch.float32) -> Frame:
    """A frame with every standard observation, at the kit's sizes, of random content."""
    mean = template(dtype)
    vertices = mean.vertices_mean + 3.0 * normal(seed, batch, VERTICES, 3, dtype=dtype)
    observations: dict[str, Any] = {
        "face": FaceState(vertices, uniform(seed + 1, batch, 3, TEXTURE, TEXTURE, dtype=dtype)),
        "keypoints": Keypoints(
            points=32 * uniform(seed + 2, batch, LANDMARKS, 2, dtype=dtype),
            visible=torch.ones(batch, LANDMARKS, dtype=dtype),
            camera=cameras(batch, 1, 32, 32, dtype).apply(lambda tensor: tensor[:, 0]),
        ),
    }
    for offset, (name, (views, channels, height, width)) in enumerate(VIEWS.items()):
        observations[name] = Views(
            images=uniform(seed + 3 + offset, batch, views, channels, height, width, dtype=dtype),
            camera=cameras(batch, views, height, width, dtype),
            mask=torch.ones(batch, views, height, width, dtype=dtype),
        )
    return Frame(
        segments=tuple(f"KIT_{i}" for i in range(batch)), numbers=torch.arange(batch), observations=observations
    )


def encoding(batch: int, *, seed: int = 0, dtype: torch.dtype = torch.float32, code: int = CODE) -> Encoding:
    """An encoding of random content."""
    return Encoding(
        mean=normal(seed, batch, code, dtype=dtype),
        log_std=0.3 * normal(seed + 1, batch, code, dtype=dtype) - 0.5,
        features=normal(seed + 2, batch, FEATURES, dtype=dtype),
    )
