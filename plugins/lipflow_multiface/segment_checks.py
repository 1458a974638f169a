"""Checking the files of one segment, frame by frame. Imports no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from lipflow_kit.headset import HEADSET_NAMES
from lipflow_kit.png_files import picture_is_whole, read_header, read_picture

from lipflow_core.errors import CaptureError
from lipflow_multiface.findings import Finding, Severity
from lipflow_multiface.krt import pose_problem
from lipflow_multiface.layout import AVERAGE, CaptureFolder, numbers_in
from lipflow_multiface.obj_files import Mesh, read_mesh
from lipflow_multiface.small_files import read_arrays
from lipflow_multiface.tracked_mesh import check_vertex_count, read_transform, read_vertices

PICTURES, TEXTURES, HEADSET = "pictures", "unwrapped textures", "headset pictures"
"""Kinds of pictures. Those of one kind have one size."""

_HEADSET_ARRAYS = {"headset.camera.intrinsics": (3, 3, 3), "headset.camera.extrinsics": (3, 3, 4)}


@dataclass(frozen=True)
class Expected:
    """Lists the content that each frame of a capture should have.

    Args:
        cameras: Names of calibrated cameras with pictures.
        mesh: Topology of the mesh; None if there is none to compare with.
        headset: Whether headset pictures were recorded.
        others: Shapes of the ground truth beside the capture, "OBSERVATION.TENSOR" → shape.
        landmarks: Number of keypoints; None if it is unknown.
    """

    cameras: Sequence[str]
    mesh: Mesh | None
    headset: bool
    others: Mapping[str, tuple[int, ...]]
    landmarks: int | None


@dataclass
class SegmentReport:
    """The findings about one segment, and the sizes (height, width) of its pictures by kind."""

    findings: list[Finding] = field(default_factory=list)
    sizes: list[tuple[str, tuple[int, int]]] = field(default_factory=list)


def check_segment(
    folder: CaptureFolder, expected: Expected, segment: str, numbers: Sequence[int], *, deep: bool
) -> SegmentReport:
    """Check the files of a segment's frames.

    Args:
        folder: Folder of the capture.
        expected: Content that each frame should have.
        segment: Name of the segment.
        numbers: Numbers of its frames.
        deep: Whether to decode pictures and read numbers; if False, only headers, endings and lengths are checked.
    """
    checks = _SegmentChecks(folder, expected, segment, numbers, deep)
    for check in (checks.pictures, checks.tracking, checks.meshes, checks.arrays):
        try:
            check()
        except CaptureError as error:  # a folder that can't be listed
            checks.say("folder unreadable", folder.root, error.message)
        except OSError as error:
            checks.say("folder unreadable", folder.root, f"{error.filename} can't be read: {error.strerror}")
    return checks.report


class _SegmentChecks:
    def __init__(self, folder: CaptureFolder, expected: Expected, segment: str, numbers: Sequence[int], deep: bool):
        self.folder = folder
        self.expected = expected
        self.segment = segment
        self.numbers = numbers
        self.deep = deep
        self.report = SegmentReport()

    def say(self, kind: str, path: Path, problem: str, number: int | None = None, severity: Severity = "error") -> None:
        name = str(path.relative_to(self.folder.root))
        self.report.findings.append(Finding(severity, kind, name, problem, self.segment, number))

    def pictures(self) -> None:
        """Check pictures, textures and headset pictures."""
        folder, segment = self.folder, self.segment
        self._pictures("average texture", TEXTURES, folder.textures / segment / AVERAGE)
        for camera in self.expected.cameras:
            self._pictures("picture", PICTURES, folder.pictures / segment / camera)
            self._pictures("texture", TEXTURES, folder.textures / segment / camera, unless_none=True)
        if self.expected.headset:
            for camera in HEADSET_NAMES:
                for place, kind in ((folder.headset, "headset picture"), (folder.headset_mask, "headset mask")):
                    self._pictures(kind, HEADSET, place(segment, camera, 0).parent)

    def _pictures(self, kind: str, group: str, place: Path, *, unless_none: bool = False) -> None:
        """Check the pictures of one camera; with `unless_none`, none at all are as good as all."""
        present = numbers_in(place, ".png")
        if extra := present - set(self.numbers):
            problem = f"has {len(extra)} pictures of frames that frame_list.txt does not name"
            self.say("frames not listed", place, problem, severity="warning")
        if unless_none and not present:
            return
        for number in self.numbers:
            path = place / f"{number:06d}.png"
            if number not in present:
                self.say(f"{kind} missing", path, "is missing", number)
            elif self._try(f"bad {kind}", path, number, partial(self._picture, path, group, number)) and self.deep:
                self._try(f"bad {kind}", path, number, partial(read_picture, path))

    def _picture(self, path: Path, group: str, number: int) -> None:
        header = read_header(path)
        if not picture_is_whole(path):
            raise CaptureError(f"{path} is truncated: it does not end as PNG files do")
        self.report.sizes.append((group, header.size))
        if header.bits > 8:
            problem = f"has {header.bits} bits a channel; it is read with 8, white staying white"
            self.say("more than 8 bits", path, problem, number, "warning")

    def tracking(self) -> None:
        """Check vertices and head poses."""
        mesh = self.expected.mesh
        read = read_vertices if self.deep else check_vertex_count
        for number in self.numbers:
            path = self.folder.vertices(self.segment, number)
            if not path.is_file():
                self.say("vertices missing", path, "is missing", number)
            elif mesh is not None:
                self._try("bad vertices", path, number, partial(read, path, len(mesh.vertices)))
            path = self.folder.transform(self.segment, number)
            if not path.is_file():
                self.say("transform missing", path, "is missing", number)
            else:
                self._try("bad transform", path, number, partial(read_transform, path))

    def meshes(self) -> None:
        """Check .obj files, of which one is enough for this project's reader."""
        folder = self.folder.meshes / self.segment
        present = numbers_in(folder, ".obj")
        if missing := len(set(self.numbers) - present):
            problem = (
                f"has no .obj file for {missing} of {len(self.numbers)} frames; "
                "Multiface's own loader wants one for the first frame that it is asked for"
            )
            self.say("mesh missing", folder, problem, severity="warning")
        if self.deep:
            for number in self.numbers:
                if number in present:
                    path = self.folder.mesh(self.segment, number)
                    self._try("bad mesh", path, number, partial(self._mesh, path))

    def _mesh(self, path: Path) -> None:
        mesh, topology = read_mesh(path), self.expected.mesh
        if topology is None:
            return
        for name in ("triangles", "uv_triangles", "uv"):
            if not np.array_equal(getattr(mesh, name), getattr(topology, name)):
                raise CaptureError(f"{path} has another topology than the first .obj file: its {name} differ")
        if len(mesh.vertices) != len(topology.vertices):
            raise CaptureError(f"{path} has {len(mesh.vertices)} vertices; the topology has {len(topology.vertices)}")

    def arrays(self) -> None:
        """Check the arrays beside the segment: headset cameras, keypoints and ground truth."""
        expected, path = self.expected, self.folder.arrays(self.segment)
        needed = {**(_HEADSET_ARRAYS if expected.headset else {}), **expected.others}
        if not path.is_file():
            if needed:
                self.say("arrays missing", path, f"is missing; it should hold {', '.join(needed)}")
            return
        if not self.deep:
            return
        self._try("bad arrays", path, None, partial(self._arrays, path, needed))

    def _arrays(self, path: Path, needed: Mapping[str, tuple[int, ...]]) -> None:
        numbers, arrays = read_arrays(path)
        missing = set(self.numbers) - set(numbers.tolist())
        if missing and needed:
            raise CaptureError(f"{path} has nothing of {len(missing)} frames, such as {min(missing):06d}")
        count = self.expected.landmarks
        if count is not None and arrays.get("keypoints.points", np.zeros(0)).shape[1:] == (count, 2):
            needed = {**needed, "keypoints.visible": (count,)}
        for name, shape in needed.items():
            found = "nothing" if name not in arrays else f"arrays of shape {arrays[name].shape[1:]}"
            if name not in arrays or arrays[name].shape[1:] != shape:
                raise CaptureError(f"{path} holds {found} as '{name}'; expected arrays of shape {shape} for each frame")
        for poses in arrays.get("headset.camera.extrinsics", ()) if self.expected.headset else ():
            for pose in poses:
                if problem := pose_problem(pose.astype(np.float64)):
                    raise CaptureError(f"{path}: [R|t] of a headset camera {problem}")

    def _try(self, kind: str, path: Path, number: int | None, check: Callable[[], object]) -> bool:
        """Run a check, report the error that it raises, and tell whether there was none."""
        try:
            check()
        except CaptureError as error:
            self.say(kind, path, without_path(error.message, path), number)
            return False
        return True


def without_path(message: str, path: Path) -> str:
    """Take the path away with which a message begins."""
    return message.removeprefix(str(path)).lstrip(": ")
