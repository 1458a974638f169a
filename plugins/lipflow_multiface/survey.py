"""What a capture's files say before any picture is decoded: sizes, cameras, frames. Imports no torch."""

from __future__ import annotations

import keyword
from collections import Counter, OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from lipflow_kit.cameras import compose, positions
from lipflow_kit.headset import HEADSET_NAMES
from lipflow_kit.landmarks import KEYPOINTS, choose_landmarks
from lipflow_kit.lenses import largest_distortion
from lipflow_kit.observations import FACE_REGIONS
from lipflow_kit.picture_sizes import drawing_problem
from lipflow_kit.png_files import read_header

from lipflow_core.errors import CaptureError
from lipflow_multiface.krt import KrtCamera, lens_problem, read_krt
from lipflow_multiface.layout import AVERAGE, CaptureFolder, folders_in, reading
from lipflow_multiface.obj_files import Mesh, find_mesh, read_mesh
from lipflow_multiface.small_files import read_arrays, read_frame_list, read_landmarks, read_regions
from lipflow_multiface.tracked_mesh import read_transform, read_vertices

NEGLIGIBLE = 0.05
"""Lens distortion that moves no point farther than this, in pixels at the size read, is left in the pictures."""

SAMPLED = {"slip": (3, 4), "light": (3, 4), "background": (3, 3), "noise": (3,)}

_RESERVED = ("face", "dome", "frontal", "headset", "keypoints", "sampled", "topology", "template")
"""Names that no observation beside the capture may have."""


@dataclass(frozen=True)
class SurveyOptions:
    """The options that a survey depends on; each means what it means in `MultifaceConfig`."""

    path: Path
    cameras: tuple[str, ...] | None
    frontal: str | None
    image: tuple[int, int] | int | None
    texture: int | None
    distortion: Literal["undistort", "ignore", "refuse"]
    landmarks: Path | None
    regions: Path | None
    headset_source: Literal["auto", "recorded", "virtual", "none"]
    headset_size: tuple[int, int]
    supersampling: int


@dataclass(frozen=True)
class Survey:
    """The facts of a capture under some options.

    Args:
        mesh: Topology, and the vertices of one frame.
        mesh_file: The .obj file that they were read from.
        cameras: Cameras in use, in order.
        frontal: Position of the frontal camera among them.
        disk_image: Height and width of pictures on disk.
        image: Height and width of pictures as they are read.
        disk_texture: Side of textures on disk.
        texture: Side of textures as they are read.
        landmarks: Number of keypoints.
        regions: Names of the regions of the mesh.
        recorded: Whether headset pictures are the recorded ones.
        headset: Height and width of headset pictures; None for none.
        others: Further tensors of each frame, "OBSERVATION.TENSOR" → shape.
        files: The files and folders that the survey depends on.
        problem: Why the options do not fit the capture, or None.
    """

    mesh: Mesh
    mesh_file: Path
    cameras: tuple[KrtCamera, ...]
    frontal: int
    disk_image: tuple[int, int]
    image: tuple[int, int]
    disk_texture: int
    texture: int
    landmarks: int
    regions: tuple[str, ...]
    recorded: bool
    headset: tuple[int, int] | None
    others: Mapping[str, tuple[int, ...]]
    files: tuple[Path, ...]
    problem: str | None = None

    @property
    def vertices(self) -> int:
        return len(self.mesh.vertices)

    @property
    def recorded_others(self) -> tuple[str, ...]:
        """Names of the further tensors that lie on disk, and are not sampled."""
        return tuple(name for name in self.others if not name.startswith("sampled."))


_KEPT: OrderedDict[SurveyOptions, tuple[Survey, list[tuple[int, ...]]]] = OrderedDict()
_MOST_KEPT = 16


def survey(options: SurveyOptions) -> Survey:
    """Survey a capture, or give the last survey if none of the files that it read changed since.

    Raises:
        CaptureError: If a file that is needed is missing or damaged.
    """
    folder = CaptureFolder(options.path)
    with reading(folder.root):
        folder.check()
        if options in _KEPT:
            found, stamps = _KEPT[options]
            if stamps == [_stamp(path) for path in found.files]:
                return found
        found = _Surveyor(options).survey()
        _KEPT[options] = found, [_stamp(path) for path in found.files]
        while len(_KEPT) > _MOST_KEPT:
            _KEPT.popitem(last=False)
        return found


def _stamp(path: Path) -> tuple[int, ...]:
    """Give numbers that change whenever a file or folder changes."""
    try:
        stat = path.stat()
    except OSError:
        return ()
    return stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns


def landmark_file(folder: CaptureFolder, chosen: Path | None) -> Path | None:
    """Give the file with the vertex of each keypoint: the chosen one, else the capture's own, else None."""
    return chosen if chosen is not None else folder.landmarks if folder.landmarks.is_file() else None


def region_file(folder: CaptureFolder, chosen: Path | None) -> Path | None:
    """Give the file with the regions of the mesh: the chosen one, else the capture's own, else None."""
    return chosen if chosen is not None else folder.regions if folder.regions.is_file() else None


def mean_vertices(folder: CaptureFolder, mesh: Mesh) -> np.ndarray:
    """Read the subject's mean mesh (V, 3); if its file is missing, the mesh that the topology was read from."""
    if folder.vertices_mean.is_file():
        return read_vertices(folder.vertices_mean, len(mesh.vertices))
    return mesh.vertices


class _Surveyor:
    """Surveys one capture, and notes the files that it reads and what does not fit the options."""

    def __init__(self, options: SurveyOptions):
        self.options = options
        self.folder = folder = CaptureFolder(options.path)
        self.problems: list[str] = []
        self.files = [folder.krt, folder.frame_list, folder.about, folder.landmarks, folder.regions]
        self.files.append(folder.vertices_mean)
        self.files += [folder.extras, folder.extras / "frames", folder.meshes]
        self.files += [file for file in (options.landmarks, options.regions) if file is not None]
        self.frames = read_frame_list(folder)
        if not self.frames:
            raise CaptureError(f"{folder.frame_list} names no frames")
        self.segments = list(dict.fromkeys(segment for segment, _ in self.frames))
        for segment in self.segments:
            self.files += [folder.meshes / segment, folder.pictures / segment]

    def survey(self) -> Survey:
        options, folder = self.options, self.folder
        mesh_file = find_mesh(folder, self.frames)
        self.files.append(mesh_file)
        mesh = read_mesh(mesh_file)
        cameras = self._cameras(read_krt(folder.krt))
        names = [camera.name for camera in cameras]
        disk_image = self._size(
            "pictures", lambda segment, number: (folder.picture(segment, name, number) for name in names)
        )
        disk_texture = self._size(
            "average textures", lambda segment, number: [folder.texture(segment, AVERAGE, number)]
        )
        if disk_texture[0] != disk_texture[1]:
            self.problems.append(f"textures of {disk_texture[0]}×{disk_texture[1]} are not square")
        self._lenses(cameras, disk_image)
        image = self._image(disk_image)
        recorded, headset = self._headset()
        return Survey(
            mesh=mesh,
            mesh_file=mesh_file,
            cameras=tuple(cameras),
            frontal=self._frontal(cameras),
            disk_image=disk_image,
            image=image,
            disk_texture=disk_texture[0],
            texture=min(options.texture or disk_texture[0], disk_texture[0]),
            landmarks=self._landmarks(mesh),
            regions=self._regions(mesh),
            recorded=recorded,
            headset=headset,
            others=self._others(recorded, headset),
            files=tuple(self.files),
            problem=None if not self.problems else f"capture 'multiface' at {options.path}: {'; '.join(self.problems)}",
        )

    def _cameras(self, calibrated: list[KrtCamera]) -> list[KrtCamera]:
        chosen = self.options.cameras
        if chosen is not None:
            by_name = {camera.name: camera for camera in calibrated}
            unknown = [name for name in chosen if name not in by_name]
            if unknown:
                self.problems.append(f"KRT has no camera '{unknown[0]}'; it has {', '.join(by_name)}")
            return [by_name[name] for name in chosen if name in by_name] or calibrated[:1]
        filmed: Counter[str] = Counter()
        for segment in self.segments:
            filmed.update(folders_in(self.folder.pictures / segment))
        cameras = [camera for camera in calibrated if 2 * filmed[camera.name] > len(self.segments)]
        if not cameras:
            raise CaptureError(
                f"{self.folder.pictures} has no camera of KRT that filmed more than half of the segments",
                "`lipflow-core capture validate` lists what is missing; the option `cameras` names cameras to read.",
            )
        return cameras

    def _lenses(self, cameras: Sequence[KrtCamera], size: tuple[int, int]) -> None:
        for camera in cameras:
            if problem := lens_problem(camera, size):
                raise CaptureError(f"{self.folder.krt}:{camera.line}: {problem}")
            moved = largest_distortion(camera.intrinsics, camera.distortion, size)
            if self.options.distortion == "refuse" and moved > NEGLIGIBLE:
                self.problems.append(f"the lens of camera '{camera.name}' moves pixels by up to {moved:.2g} px")

    def _frontal(self, cameras: Sequence[KrtCamera]) -> int:
        names, wanted = [camera.name for camera in cameras], self.options.frontal
        if wanted is not None:
            if wanted not in names:
                self.problems.append(f"the frontal camera '{wanted}' is not among those read: {', '.join(names)}")
                return 0
            return names.index(wanted)
        path = self._first(lambda segment, number: [self.folder.transform(segment, number)])
        if path is None:
            raise CaptureError(f"{self.folder.meshes} has no head pose of any listed frame")
        extrinsics = compose(np.stack([camera.extrinsics for camera in cameras]), read_transform(path)[None])[0]
        away = positions(extrinsics)
        return int((away[:, 2] / np.linalg.norm(away, axis=1).clip(1e-9)).argmax())

    def _size(self, kind: str, places: Callable) -> tuple[int, int]:
        """Give the height and width of the first picture of a kind."""
        path = self._first(places)
        if path is None:
            raise CaptureError(f"{self.folder.root} has no {kind} of listed frames")
        return read_header(path).size

    def _first(self, places: Callable) -> Path | None:
        """Find the first file that exists among those that `places` names for each frame, and note it."""
        for segment, number in self.frames:
            for path in places(segment, number):
                if path.is_file():
                    self.files.append(path)
                    return path
        return None

    def _image(self, disk: tuple[int, int]) -> tuple[int, int]:
        match self.options.image:
            case None:
                size = disk
            case int(longer):
                scale = min(1.0, longer / max(disk))
                size = max(1, round(disk[0] * scale)), max(1, round(disk[1] * scale))
            case size:
                if size[0] > disk[0] or size[1] > disk[1]:
                    self.problems.append(
                        f"image {size[0]}×{size[1]} is larger than the pictures on disk, {disk[0]}×{disk[1]}"
                    )
        if problem := drawing_problem("image", size, self.options.supersampling):
            self.problems.append(problem)
        return size

    def _headset(self) -> tuple[bool, tuple[int, int] | None]:
        source = self.options.headset_source
        if source in ("auto", "recorded"):
            path = self._first(lambda segment, number: [self.folder.headset(segment, HEADSET_NAMES[0], number)])
            if path is not None:
                return True, read_header(path).size
            if source == "recorded":
                raise CaptureError(
                    f"{self.folder.extras} has no headset pictures",
                    "Set headset.source to virtual to film them virtually.",
                )
        return False, None if source == "none" else self.options.headset_size

    def _landmarks(self, mesh: Mesh) -> int:
        path = landmark_file(self.folder, self.options.landmarks)
        if path is not None:
            return len(read_landmarks(path, len(mesh.vertices)))
        return len(choose_landmarks(mean_vertices(self.folder, mesh), min(KEYPOINTS, len(mesh.vertices))))

    def _regions(self, mesh: Mesh) -> tuple[str, ...]:
        path = region_file(self.folder, self.options.regions)
        return FACE_REGIONS if path is None else tuple(read_regions(path, len(mesh.vertices)))

    def _others(self, recorded: bool, headset: tuple[int, int] | None) -> dict[str, tuple[int, ...]]:
        """Give the shapes of ground truth beside the capture, and of what is sampled for virtual headset pictures."""
        others: dict[str, tuple[int, ...]] = {}
        if headset is not None and not recorded:
            others |= {f"sampled.{name}": shape for name, shape in SAMPLED.items()}
        path = self._first(lambda segment, number: [self.folder.arrays(segment)])
        if path is not None:
            others |= other_shapes(read_arrays(path)[1])
        return others


def other_shapes(arrays: Mapping[str, np.ndarray]) -> dict[str, tuple[int, ...]]:
    """Give the shapes of the arrays beside a segment that are observations of their own, such as "truth.gaze"."""
    shapes = {}
    for name, array in arrays.items():
        owner, _, tensor = name.partition(".")
        if owner and owner not in _RESERVED and tensor.isidentifier() and not keyword.iskeyword(tensor):
            shapes[name] = array.shape[1:]
    return shapes
