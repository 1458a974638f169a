"""Predicts faces from headset pictures: driving encoder, prior, decoder and renderer, without fitting.

```
OUT/
  drive.json               model, frames and sizes
  codes.safetensors        codes (B, D) and vertices (B, V, 3), millimetres
  meshes/FRAME.obj         the predicted mesh
  pictures/FRAME.png       what the model saw, and the predicted face from the front
  pictures/FRAME.views.png the pictures beside the face from their cameras, if cameras.json gives them
```
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from lipflow_kit.cameras import look_at
from lipflow_kit.headset import HEADSET_NAMES, estimate_anchors, headset_cameras
from safetensors.torch import save
from torch import Tensor

import lipflow_core
from lipflow_core import Avatar
from lipflow_core.errors import StorageError, UsageError
from lipflow_core.observing import draw, faults, not_finite
from lipflow_core.pictures import png, strip
from lipflow_core.progress import Style, progress
from lipflow_core.records import Camera, FaceState, Frame, Topology, Views, luminance
from lipflow_core.results import Result
from lipflow_core.storage import check_folder, written_folder
from lipflow_drive.pictures import PictureFolder, open_pictures

RESULT, CODES, MESHES, PICTURES = "drive.json", "codes.safetensors", "meshes", "pictures"
DISTANCE = 1000.0
"""Millimetres from the head's middle to the camera that looks at the predicted face from the front."""

_TOGETHER = 16


class Driven(Result):
    """Holds the content of `drive.json`."""

    name: str
    """The spec's name."""
    model: str
    """Folder of the model."""
    folder: str
    """Folder of the pictures."""
    views: tuple[str, ...]
    """Names of the views, in the model's order."""
    frames: tuple[str, ...]
    """Names of the frames, in the order of the codes."""
    found: tuple[tuple[int, int], ...]
    """Height and width of each view's pictures on disk."""
    size: tuple[int, int]
    """Height and width that they were brought to."""
    calibrated: bool
    """Whether the folder has the views' cameras."""
    notes: tuple[str, ...]
    """Sentences that tell what is missing or unusual in the results."""


def drive(
    model: str | os.PathLike[str],
    folder: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    views: Sequence[str] | None = None,
    size: int = 256,
    meshes: bool = True,
    pictures: bool = True,
    overrides: Sequence[str] = (),
    style: Style = "none",
) -> Driven:
    """Predict the face of each frame from its headset pictures, and write codes, meshes and pictures.

    The code is the prior's mode given the pictures, from which fitting would start. Pictures that are larger than the
    model's are area-filtered; smaller ones, and those of another shape, are refused.

    Args:
        model: Model directory; its driving encoder sees pictures.
        folder: Pictures FOLDER/VIEW/FRAME.png, and cameras.json if there is (see `lipflow_drive.pictures`).
        out: Folder to write; new, empty, or of an earlier call.
        views: Names of the views' folders, in the model's order; right-eye, left-eye and mouth if None.
        size: Height and width of the pictures drawn from the front.
        meshes: Whether .obj files are written.
        pictures: Whether pictures are written.
        overrides: Changes to the model's spec, such as "renderer=torch".
        style: How progress is shown.

    Returns:
        The content of `drive.json`.

    Raises:
        lipflow_core.errors.UsageError: If the model is not driven by pictures, or by another number of views.
        lipflow_core.errors.CaptureError: If a picture or a camera is missing, damaged or does not fit.
        lipflow_core.errors.NumericalError: If the model makes NaN or infinity.
        lipflow_core.errors.StorageError: If `out` can't be written, or holds something else.
    """
    if not 16 <= size <= 4096:
        raise UsageError(f"pictures of {size} pixels can't be drawn", "Give a size from 16 to 4096.")
    place = Path(out)
    check_folder(place)
    if place.is_dir() and any(place.iterdir()) and not (place / RESULT).is_file():
        raise StorageError(f"{place} is not empty and holds no results of this command", "Choose another folder.")
    opened = lipflow_core.open_model(model, overrides=overrides)
    avatar, shape = opened.avatar, _driving_shape(opened.avatar, opened.spec.name)
    found = open_pictures(Path(folder), HEADSET_NAMES if views is None else views, shape)
    calibration = found.calibration()
    notes = []
    if calibration is None and pictures:
        notes.append("without cameras.json, faces are drawn from the front only, not beside the headset's pictures")
    done = Driven(
        name=opened.spec.name,
        model=str(model),
        folder=str(folder),
        views=found.views,
        frames=found.frames,
        found=found.found,
        size=found.size,
        calibrated=calibration is not None,
        notes=tuple(notes),
    )
    mean = avatar.template.vertices_mean.cpu()
    cameras, front = _cameras(found, calibration, mean), _front(mean.numpy(), size) if pictures else None
    codes, vertices = [], []
    with written_folder(place) as new, progress(len(found.frames), "drive", "frame", style=style) as bar:
        for folder_of, wanted in ((MESHES, meshes), (PICTURES, pictures)):
            if wanted:
                (new / folder_of).mkdir()
        topology = obj_topology(avatar.template.topology.to("cpu")) if meshes else b""
        for start in range(0, len(found.frames), _TOGETHER):
            names = found.frames[start : start + _TOGETHER]
            images = torch.from_numpy(found.images(names)).to(mean.dtype)
            camera = cameras.rows(torch.zeros(len(names), dtype=torch.int64))
            seen = Views(images, camera, torch.ones_like(images[:, :, 0]))
            code, mesh, drawn, beside = _predict(avatar, seen, front, calibrated=calibration is not None, names=names)
            codes.append(code)
            vertices.append(mesh)
            for row, name in enumerate(names):
                if meshes:
                    (new / MESHES / f"{name}.obj").write_bytes(obj_vertices(mesh[row].numpy()) + topology)
                if pictures:
                    (new / PICTURES / f"{name}.png").write_bytes(png(_stacked(seen.images[row], drawn[row])))
                    if beside is not None:
                        both = torch.cat([strip(seen.images[row]), strip(beside[row])], dim=1)
                        (new / PICTURES / f"{name}.views.png").write_bytes(png(both))
            bar.advance(len(names))
        (new / CODES).write_bytes(save({"codes": torch.cat(codes), "vertices": torch.cat(vertices)}))
        (new / RESULT).write_text(done.json_text(), encoding="utf-8")
    return done


def obj_vertices(vertices: np.ndarray) -> bytes:
    """Format the lines `v` of an .obj file; vertices: (V, 3) millimetres."""
    return "".join(f"v {x:.4f} {y:.4f} {z:.4f}\n" for x, y, z in vertices.tolist()).encode("ascii")


def obj_topology(topology: Topology) -> bytes:
    """Format the lines `vt` and `f` of an .obj file, which are the same in every frame."""
    lines = [f"vt {u:.6f} {v:.6f}\n" for u, v in topology.uv.tolist()]
    corners = zip((topology.triangles + 1).tolist(), (topology.uv_triangles + 1).tolist(), strict=True)
    lines += [f"f {a}/{d} {b}/{e} {c}/{f}\n" for (a, b, c), (d, e, f) in corners]
    return "".join(lines).encode("ascii")


def _driving_shape(avatar: Avatar, name: str) -> tuple[int, int, int, int]:
    """Give (views, channels, height, width) of the pictures that drive a model."""
    if avatar.driving is None or "driving" not in avatar.fitting_prior.planned.needs:
        raise UsageError(
            f"model '{name}' can't be driven: its prior takes no driving signal",
            "Choose a model with a driving encoder and a prior that is conditioned on it, such as lip-flow-hmc.",
        )
    offered = {} if avatar.capture is None else avatar.capture.observations
    images = offered.get(avatar.driving.modality, {}).get("images", ())
    if len(images) != 4:
        raise UsageError(
            f"model '{name}' is driven by '{avatar.driving.modality}', which is no set of pictures",
            "Choose a model that is driven by headset pictures.",
        )
    views, channels, height, width = images
    return views, channels, height, width


def _cameras(found: PictureFolder, calibration: tuple[np.ndarray, np.ndarray] | None, mean: Tensor) -> Camera:
    """Make the views' cameras, leading axes (1, N).

    An encoder may look at them; without any, a headset that sits well on the mean face is assumed.
    """
    if calibration is None and found.views == HEADSET_NAMES:
        calibration = headset_cameras(found.size, estimate_anchors(mean.numpy()))
    if calibration is None:
        count = len(found.views)
        calibration = np.tile(np.eye(3), (count, 1, 1)), np.tile(np.eye(3, 4), (count, 1, 1))
    intrinsics, extrinsics = (torch.from_numpy(array).to(mean)[None] for array in calibration)
    return Camera(intrinsics, extrinsics, *found.size)


@torch.no_grad()
def _predict(
    avatar: Avatar, seen: Views, front: Camera | None, *, calibrated: bool, names: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor | None, Tensor | None]:
    """Predict faces: codes (B, D), vertices (B, V, 3), and if `front` is given pictures from it and from the views."""
    frame = Frame(tuple(names), torch.arange(len(names)), {avatar.driving.modality: seen}).to(avatar.device)
    code = avatar.fitting_prior.condition(avatar.drive(frame)).mode()
    mesh, drawn, beside = avatar.geometry(code), None, None
    found = faults(code, FaceState(mesh), {})
    if front is not None:
        camera = front.apply(lambda tensor: tensor.to(code)).rows(torch.zeros(len(code), dtype=torch.int64))
        drawn, wrong = draw(avatar, code, camera)
        found = {**wrong, **found}
        drawn = drawn[:, 0].cpu()
        if calibrated:
            beside, wrong = draw(avatar, code, frame[avatar.driving.modality].camera)
            found = {**wrong, **found}
            beside = (beside if seen.images.shape[2] == 3 else luminance(beside)).cpu()
    if found:
        raise not_finite(f"the {found[min(found)]} of frame {names[min(found)]}")
    return code.cpu(), mesh.cpu(), drawn, beside


def _front(mean: np.ndarray, size: int) -> Camera:
    """Place a camera before the middle of the mean face, which fills its picture; leading axes (1, 1)."""
    middle = (mean.min(0) + mean.max(0)) / 2
    extrinsics = look_at(middle + np.array([0, 0, DISTANCE]), middle)
    reach = 1.1 * max(np.ptp(mean[:, 0]), np.ptp(mean[:, 1]))
    focal = size * DISTANCE / reach
    intrinsics = np.array([[focal, 0, (size - 1) / 2], [0, focal, (size - 1) / 2], [0, 0, 1]])
    return Camera(torch.from_numpy(intrinsics)[None, None], torch.from_numpy(extrinsics)[None, None], size, size)


def _stacked(seen: Tensor, drawn: Tensor) -> Tensor:
    """Place the views above the face that was predicted from them, on black."""
    above = strip(seen).expand(3, -1, -1)
    width = max(above.shape[2], drawn.shape[2])
    return torch.cat([_padded(above, width), _padded(drawn, width)], dim=1)


def _padded(picture: Tensor, width: int) -> Tensor:
    left = (width - picture.shape[2]) // 2
    return torch.nn.functional.pad(picture, (left, width - picture.shape[2] - left))
