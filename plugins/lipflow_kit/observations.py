"""Observations that the shipped face captures offer: their names, roles and shapes. Imports neither torch nor numpy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lipflow_core.plans import Roles, Shape

ROLES = Roles(surface="face", training_views="dome", scored_view="frontal")
"""Roles of the observations, by which the core uses them."""

FACE_REGIONS = ("eyes", "mouth")
"""Regions of the mesh that these captures define, see `lipflow_kit.regions`."""


def face_outputs(
    *,
    vertices: int,
    triangles: int,
    texture: int,
    cameras: int,
    image: tuple[int, int],
    headset: tuple[int, int] | None,
    landmarks: int,
    others: Mapping[str, Shape],
    regions: Sequence[str] = FACE_REGIONS,
) -> dict[str, Shape]:
    """Give the shapes that a capture of a face plans, "OBSERVATION.TENSOR" → shape without the batch axis.

    Args:
        vertices: Number of the mesh's vertices.
        triangles: Number of the mesh's triangles.
        texture: Height and width of the square texture.
        cameras: Number of the dome's cameras.
        image: Height and width of their pictures.
        headset: Height and width of the three headset pictures, or None for none.
        landmarks: Number of keypoints.
        others: Shapes of further observations, under the same kind of names.
        regions: Names of the template's regions.
    """
    outputs: dict[str, Shape] = {
        "face.vertices": (vertices, 3),
        "face.texture": (3, texture, texture),
        "dome.images": (cameras, 3, *image),
        "dome.mask": (cameras, *image),
        "frontal.images": (1, 3, *image),
        "frontal.mask": (1, *image),
    }
    if headset is not None:
        outputs |= {"headset.images": (3, 1, *headset), "headset.mask": (3, *headset)}
    outputs |= {"keypoints.points": (landmarks, 2), "keypoints.visible": (landmarks,)}
    outputs |= {f"template.regions.{name}": (vertices,) for name in regions}
    return outputs | {**others, "topology.triangles": (triangles, 3), "template.landmarks": (landmarks,)}
