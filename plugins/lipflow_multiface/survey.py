"""What a capture's files say before any picture is decoded: sizes, cameras, frames. Imports no torch."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lipflow_kit.cameras import compose, positions
from lipflow_kit.headset import HEADSET_NAMES
from lipflow_kit.landmarks import KEYPOINTS, choose_landmarks
from lipflow_kit.pictures import largest_distortion, picture_size

from lipflow_core.errors import CaptureError
from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.krt import KrtCamera, read_krt, rotation_problem
from lipflow_multiface.layout import AVERAGE, CaptureFolder, folders_in, read_frame_list, read_landmarks
from lipflow_multiface.meshes import Mesh, find_mesh, read_mesh, read_transform, read_vertices

NEGLIGIBLE = 0.05
"""Lens distortion that moves no point farther than so many pixels, at the size read, is left in the pictures."""

SAMPLED = {"slip": (3, 4), "light": (3, 4), "background": (3, 3), "noise": (3,)}


@dataclass(frozen=True)
class Survey:
    """Facts of a capture under some options.

    Args:
        mesh: Topology, and vertices of one frame.
        cameras: Those in use, in order.
        frontal: Which of them is the frontal one.
        disk_image: Height and width of pictures on disk.
        image: Height and width as they are read.
        disk_texture: Side of textures on disk.
        texture: Side as they are read.
        landmarks: Number of keypoints.
        recorded: Whether headset pictures are the recorded ones.
        headset: Height and width of headset pictures; None for none.
        others: Further tensors of each frame, "OBSERVATION.TENSOR" → shape.
        problem: Why the options don't fit the capture, or None.
    """

    mesh: Mesh
    cameras: tuple[KrtCamera, ...]
    frontal: int
    disk_image: tuple[int, int]
    image: tuple[int, int]
    disk_texture: int
    texture: int
    landmarks: int
    recorded: bool
    headset: tuple[int, int] | None
    others: Mapping[str, tuple[int, ...]]
    problem: str | None = None

    @property
    def vertices(self) -> int:
        return len(self.mesh.vertices)


def survey(config: MultifaceConfig) -> Survey:
    """Read a capture's small files. Raises CaptureError if one that is needed is missing or damaged."""
    folder = CaptureFolder(config.path)
    folder.check()
    key = tuple(_stamp(path) for path in (folder.krt, folder.frame_list, folder.meshes, folder.about))
    ignored = {"cache", "held_out", "renderer", "colour", "supersampling"}
    return _survey(config.path.resolve(), key, config.model_dump_json(exclude=ignored), _Hidden(config))


class _Hidden:
    """An argument that a cache does not tell apart."""

    def __init__(self, value: MultifaceConfig):
        self.value = value

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Hidden)

    def __hash__(self) -> int:
        return 0


@functools.lru_cache(maxsize=16)
def _survey(root: Path, key: tuple, options: str, hidden: _Hidden) -> Survey:
    config = hidden.value
    folder = CaptureFolder(config.path)
    frames = read_frame_list(folder)
    if not frames:
        raise CaptureError(f"{folder.frame_list} names no frames")
    mesh = read_mesh(find_mesh(folder, frames))
    calibrated = read_krt(folder.krt)
    problems: list[str] = []
    cameras = _cameras(config, folder, calibrated, list(dict.fromkeys(segment for segment, _ in frames)), problems)
    for camera in cameras:
        if wrong := rotation_problem(camera.extrinsics[:, :3]):
            raise CaptureError(f"{folder.krt}:{camera.line}: the rotation of camera '{camera.name}' {wrong}")
    disk_image = _first_size(folder, frames, [camera.name for camera in cameras], "picture")
    disk_texture = _first_size(folder, frames, [AVERAGE], "texture")
    if disk_texture[0] != disk_texture[1]:
        problems.append(f"textures of {disk_texture[0]}×{disk_texture[1]} are not square")
    image = _image(config, disk_image, problems)
    if config.distortion == "refuse":
        for camera in cameras:
            if (moved := largest_distortion(camera.intrinsics, camera.distortion, disk_image)) > NEGLIGIBLE:
                problems.append(f"the lens of camera '{camera.name}' moves pixels by up to {moved:.2g} px")
    recorded, headset = _headset(config, folder, frames)
    landmarks = landmark_file(config)
    count = min(KEYPOINTS, len(mesh.vertices))
    if landmarks is not None:
        count = len(read_landmarks(landmarks, len(mesh.vertices)))
    elif config.landmarks is None:
        count = len(choose_landmarks(mean_vertices(folder, mesh)))
    return Survey(
        mesh=mesh,
        cameras=tuple(cameras),
        frontal=_frontal(config, folder, frames, cameras, problems),
        disk_image=disk_image,
        image=image,
        disk_texture=disk_texture[0],
        texture=min(config.texture or disk_texture[0], disk_texture[0]),
        landmarks=count,
        recorded=recorded,
        headset=headset,
        others=_others(folder, frames, recorded, headset),
        problem=None if not problems else f"capture 'multiface' at {config.path}: {'; '.join(problems)}",
    )


def landmark_file(config: MultifaceConfig) -> Path | None:
    """The file that says which vertices are keypoints, if there is one."""
    own = CaptureFolder(config.path).landmarks
    return config.landmarks if config.landmarks is not None else own if own.is_file() else None


def mean_vertices(folder: CaptureFolder, mesh: Mesh) -> np.ndarray:
    """(V, 3) the subject's mean mesh; that of the topology's frame if the file is missing."""
    if folder.vertices_mean.is_file():
        return read_vertices(folder.vertices_mean, len(mesh.vertices))
    return mesh.vertices


def _stamp(path: Path) -> tuple[int, int]:
    try:
        stat = path.stat()
    except OSError:
        return (0, 0)
    return (stat.st_mtime_ns, stat.st_size)


def _cameras(
    config: MultifaceConfig,
    folder: CaptureFolder,
    calibrated: list[KrtCamera],
    segments: list[str],
    problems: list[str],
) -> list[KrtCamera]:
    if config.cameras is not None:
        by_name = {camera.name: camera for camera in calibrated}
        unknown = [name for name in config.cameras if name not in by_name]
        if unknown:
            problems.append(f"KRT has no camera '{unknown[0]}'; it has {', '.join(by_name)}")
        return [by_name[name] for name in config.cameras if name in by_name] or calibrated[:1]
    filmed: Counter[str] = Counter()
    for segment in segments:
        filmed.update(folders_in(folder.pictures / segment))
    cameras = [camera for camera in calibrated if 2 * filmed[camera.name] > len(segments)]
    if not cameras:
        raise CaptureError(
            f"{folder.pictures} has no camera of KRT that filmed more than half of the segments",
            "`lipflow-core capture validate` lists what is missing; the option `cameras` names cameras to read.",
        )
    return cameras


def _frontal(
    config: MultifaceConfig,
    folder: CaptureFolder,
    frames: list[tuple[str, int]],
    cameras: list[KrtCamera],
    problems: list[str],
) -> int:
    names = [camera.name for camera in cameras]
    if config.frontal is not None:
        if config.frontal not in names:
            problems.append(f"the frontal camera '{config.frontal}' is not among those read: {', '.join(names)}")
            return 0
        return names.index(config.frontal)
    for segment, number in frames:
        path = folder.transform(segment, number)
        if path.is_file():
            extrinsics = compose(np.stack([camera.extrinsics for camera in cameras]), read_transform(path)[None])[0]
            away = positions(extrinsics)
            return int((away[:, 2] / np.linalg.norm(away, axis=1)).argmax())
    raise CaptureError(f"{folder.meshes} has no head pose of any listed frame")


def _first_size(folder: CaptureFolder, frames: list[tuple[str, int]], names: list[str], kind: str) -> tuple[int, int]:
    place = folder.picture if kind == "picture" else folder.texture
    for segment, number in frames:
        for name in names:
            path = place(segment, name, number)
            if path.is_file():
                return picture_size(path)
    raise CaptureError(
        f"{folder.root} has no {'pictures' if kind == 'picture' else 'average textures'} of listed frames"
    )


def _image(config: MultifaceConfig, disk: tuple[int, int], problems: list[str]) -> tuple[int, int]:
    match config.image:
        case None:
            return disk
        case int(longer):
            scale = min(1.0, longer / max(disk))
            return max(1, round(disk[0] * scale)), max(1, round(disk[1] * scale))
        case size:
            if size[0] > disk[0] or size[1] > disk[1]:
                problems.append(f"image {size[0]}×{size[1]} is larger than the pictures on disk, {disk[0]}×{disk[1]}")
            return size


def _headset(
    config: MultifaceConfig, folder: CaptureFolder, frames: list[tuple[str, int]]
) -> tuple[bool, tuple[int, int] | None]:
    source = config.headset.source
    if source in ("auto", "recorded"):
        for segment, number in frames:
            path = folder.headset(segment, HEADSET_NAMES[0], number)
            if path.is_file():
                return True, picture_size(path)
        if source == "recorded":
            raise CaptureError(
                f"{folder.extras} has no headset pictures", "Set headset.source to virtual to film them virtually."
            )
    return False, None if source == "none" else config.headset.size


def _others(
    folder: CaptureFolder, frames: list[tuple[str, int]], recorded: bool, headset: tuple[int, int] | None
) -> dict[str, tuple[int, ...]]:
    """Ground truth that lies beside the capture, and what was sampled for virtual headset pictures."""
    others: dict[str, tuple[int, ...]] = {}
    if headset is not None and not recorded:
        others |= {f"sampled.{name}": shape for name, shape in SAMPLED.items()}
    for segment, _ in frames:
        path = folder.truth(segment)
        if path.is_file():
            for name, array in read_truth(path).items():
                if "." in name and name.split(".")[0] not in ("headset", "keypoints"):
                    others[name] = array.shape[1:]
            break
    return others


def read_truth(path: Path) -> dict[str, np.ndarray]:
    """Arrays over a segment's frames. Raises CaptureError if they can't be read."""
    try:
        with np.load(path, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except Exception as error:  # zip and npy readers raise many kinds
        raise CaptureError(f"{path} can't be read: {error}", "Write the capture again.") from error
