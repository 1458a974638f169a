"""What is missing or wrong in a capture on disk, frame by frame. Imports no torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from lipflow_kit.pictures import picture_is_whole, picture_size, read_picture

from lipflow_core.errors import CaptureError
from lipflow_core.progress import Style, progress
from lipflow_multiface.findings import Finding, Report, Severity
from lipflow_multiface.krt import KrtCamera, parse_krt, rotation_problem
from lipflow_multiface.layout import (
    AVERAGE,
    CaptureFolder,
    folders_in,
    is_held_out,
    numbers_in,
    parse_frame_list,
    read_about,
    read_landmarks,
    read_text,
)
from lipflow_multiface.meshes import Mesh, find_mesh, read_mesh, read_number, read_transform, read_vertices
from lipflow_multiface.orientation import TELLING, texture_agreement


def validate(root: str | os.PathLike[str], *, deep: bool = False, workers: int = 4, style: Style = "auto") -> Report:
    """Check every file of a capture.

    Args:
        root: Its folder.
        deep: Decode every picture and read every vertex; otherwise headers, endings and lengths are looked at.
        workers: Threads.
        style: Of the progress.

    Raises:
        CaptureError: If the folder does not exist or is no capture at all.
    """
    folder = CaptureFolder(Path(root))
    folder.check()
    return _Validation(folder, deep).run(workers, style)


class _Validation:
    def __init__(self, folder: CaptureFolder, deep: bool):
        self.folder = folder
        self.deep = deep
        self.report = Report(str(folder.root))

    def run(self, workers: int, style: Style) -> Report:
        frames = self._frame_list()
        cameras = self._krt()
        mesh = self._topology(frames)
        vertices = None if mesh is None else len(mesh.vertices)
        self._statistics(vertices)
        self._extras(vertices)
        by_segment: dict[str, list[int]] = {}
        for segment, number in frames:
            by_segment.setdefault(segment, []).append(number)
        in_use = self._cameras(cameras, list(by_segment))
        self._segments(by_segment)
        if mesh is not None and frames and in_use:
            self._orientation(mesh, [camera for camera in cameras if camera.name in in_use], frames)
        sizes: dict[str, Counter[tuple[int, int]]] = {"images": Counter(), "unwrapped textures": Counter()}
        task = partial(self._segment, cameras=in_use, vertices=vertices)
        with (
            progress(len(frames), "validate", "frame", style=style) as bar,
            ThreadPoolExecutor(max(1, workers), thread_name_prefix="lipflow-validate") as pool,
        ):
            for (segment, numbers), (found, seen) in zip(
                by_segment.items(), pool.map(lambda item: task(*item), by_segment.items()), strict=True
            ):
                self.report.findings += found
                for name, (height, width) in seen:
                    sizes[name][height, width] += 1
                bar.advance(len(numbers), segment=segment)
        self._sizes(sizes)
        self._overview(frames, cameras, in_use, vertices, sizes)
        return self.report

    def _say(
        self, severity: Severity, kind: str, path: Path, problem: str, line: int | None = None, **of: Any
    ) -> Finding:
        where = self._name(path) if line is None else f"{self._name(path)}:{line}"
        finding = Finding(severity, kind, where, problem, **of)
        self.report.findings.append(finding)
        return finding

    def _name(self, path: Path) -> str:
        return str(path.relative_to(self.folder.root))

    def _tell(self, kind: str, path: Path, error: CaptureError) -> None:
        self._say("error", kind, path, _without_path(error.message, path))

    def _text(self, path: Path) -> str | None:
        try:
            text = read_text(path)
        except CaptureError as error:
            self._tell("file missing" if not path.exists() else "file unreadable", path, error)
            return None
        if b"\r" in path.read_bytes():
            self._say("error", "Windows line ends", path, "has Windows line ends, which other readers stumble over")
        return text

    def _frame_list(self) -> list[tuple[str, int]]:
        path = self.folder.frame_list
        text = self._text(path)
        if text is None:
            about = read_about(self.folder)
            if about and not about.get("complete"):
                self._say("error", "incomplete", path, "is missing: the capture was not written to its end")
            return self._found_frames()
        frames, wrong = parse_frame_list(text)
        for line in wrong:
            kind = "frame listed twice" if "again" in line.problem else "bad line"
            self._say("error", kind, path, line.problem, line.number)
        if not frames:
            self._say("error", "no frames", path, "names no frames")
        return frames

    def _found_frames(self) -> list[tuple[str, int]]:
        """Frames that have vertices, where no list names them."""
        meshes = self.folder.meshes
        return [
            (segment, number)
            for segment in folders_in(meshes)
            for number in sorted(numbers_in(meshes / segment, ".bin"))
        ]

    def _krt(self) -> list[KrtCamera]:
        path = self.folder.krt
        text = self._text(path)
        if text is None:
            return []
        cameras, wrong = parse_krt(text)
        for line in wrong:
            self._say("error", "bad line", path, line.problem, line.number)
        if not cameras and not wrong:
            self._say("error", "no cameras", path, "has no cameras")
        for camera in cameras:
            if problem := rotation_problem(camera.extrinsics[:, :3]):
                self._say("error", "bad calibration", path, f"camera '{camera.name}': R {problem}", camera.line)
            k = camera.intrinsics
            if not (k[0, 0] > 0 and k[1, 1] > 0) or not np.allclose(k[2], [0, 0, 1]) or abs(k[1, 0]) > 1e-9:
                self._say(
                    "error",
                    "bad calibration",
                    path,
                    f"camera '{camera.name}': K is not [[fx s cx] [0 fy cy] [0 0 1]] with positive focal lengths",
                    camera.line + 1,
                )
        return cameras

    def _topology(self, frames: Sequence[tuple[str, int]]) -> Mesh | None:
        """The mesh of the first .obj file."""
        try:
            path = find_mesh(self.folder, list(frames))
        except CaptureError as error:
            self._tell("file missing", self.folder.meshes, error)
            return None
        try:
            mesh = read_mesh(path)
        except CaptureError as error:
            self._tell("bad mesh", path, error)
            return None
        if mesh.uv.min() < 0 or mesh.uv.max() > 1:
            self._say("warning", "bad mesh", path, "has texture coordinates outside [0, 1]")
        return mesh

    def _orientation(self, mesh: Mesh, cameras: Sequence[KrtCamera], frames: Sequence[tuple[str, int]]) -> None:
        """Whether textures agree better with pictures when they are turned upside down."""
        some = [frames[index] for index in np.unique(np.linspace(0, len(frames) - 1, 3).astype(int))]
        straight, flipped = texture_agreement(self.folder, mesh, cameras[:8], some)
        if flipped > straight + TELLING:
            problem = (
                f"seem to be stored with row 0 at v = 0: correlation with pictures is {flipped:.2f} so and "
                f"{straight:.2f} as they are; set the option texture_rows to bottom-up"
            )
            self._say("warning", "textures upside down", self.folder.textures, problem)

    def _statistics(self, vertices: int | None) -> None:
        folder = self.folder
        for path in (folder.texture_variance, folder.vertices_variance):
            self._try("bad statistics", path, lambda path=path: read_number(path))
        if vertices is not None:
            self._try("bad vertices", folder.vertices_mean, lambda: read_vertices(folder.vertices_mean, vertices))
        self._try("bad picture", folder.texture_mean, lambda: read_picture(folder.texture_mean))

    def _try(self, kind: str, path: Path, read: Any) -> None:
        if not path.is_file():
            self._say("error", "file missing", path, "is missing")
            return
        try:
            read()
        except CaptureError as error:
            self._tell(kind, path, error)

    def _extras(self, vertices: int | None) -> None:
        path = self.folder.landmarks
        if path.is_file() and vertices is not None:
            self._try("bad landmarks", path, lambda: read_landmarks(path, vertices))
        try:
            read_about(self.folder)
        except CaptureError as error:
            self._tell("file unreadable", self.folder.about, error)

    def _cameras(self, cameras: Sequence[KrtCamera], segments: Sequence[str]) -> list[str]:
        """Names of calibrated cameras with pictures."""
        filmed = {name for segment in segments for name in folders_in(self.folder.pictures / segment)}
        for camera in cameras:
            if camera.name not in filmed:
                problem = f"camera '{camera.name}' has no pictures"
                self._say("warning", "camera without pictures", self.folder.krt, problem, camera.line)
        for name in sorted(filmed - {camera.name for camera in cameras}):
            problem = f"has pictures of camera '{name}', which KRT does not calibrate"
            self._say("warning", "camera without calibration", self.folder.pictures, problem)
        if not filmed and segments:
            self._say("error", "no pictures", self.folder.pictures, "has no pictures of any listed segment")
        return [camera.name for camera in cameras if camera.name in filmed]

    def _segments(self, listed: dict[str, list[int]]) -> None:
        """Segments that are on disk and not in the list."""
        for segment in folders_in(self.folder.meshes):
            if segment not in listed:
                problem = "is not in frame_list.txt"
                self._say("warning", "segment not listed", self.folder.meshes / segment, problem)

    def _segment(
        self, segment: str, numbers: list[int], *, cameras: Sequence[str], vertices: int | None
    ) -> tuple[list[Finding], list[tuple[str, tuple[int, int]]]]:
        """Findings about a segment's frames, and the sizes of their pictures."""
        folder = self.folder
        found: list[Finding] = []
        sizes: list[tuple[str, tuple[int, int]]] = []

        def say(kind: str, path: Path, problem: str, number: int) -> None:
            found.append(Finding("error", kind, self._name(path), problem, segment, number))

        here = {
            (top, camera): numbers_in(top / segment / camera, ".png")
            for top in (folder.pictures, folder.textures)
            for camera in (*cameras, AVERAGE)
        }
        some_textures = {camera for camera in cameras if here[folder.textures, camera]}
        for number in numbers:
            for path, kind, read in (
                (folder.vertices(segment, number), "vertices", partial(self._check_vertices, count=vertices)),
                (folder.transform(segment, number), "transform", _check_transform),
            ):
                try:
                    if not path.is_file():
                        say(f"{kind} missing", path, "is missing", number)
                    elif problem := read(path):
                        say(f"bad {kind}", path, problem, number)
                except CaptureError as error:
                    say(f"bad {kind}", path, _without_path(error.message, path), number)
            wanted = [(folder.textures, AVERAGE, "average texture")]
            wanted += [(folder.pictures, camera, "picture") for camera in cameras]
            wanted += [(folder.textures, camera, "texture") for camera in cameras if camera in some_textures]
            for top, camera, kind in wanted:
                path = top / segment / camera / f"{number:06d}.png"
                if number not in here[top, camera]:
                    say(f"{kind} missing", path, "is missing", number)
                    continue
                try:
                    size = self._check_picture(path)
                except CaptureError as error:
                    say(f"bad {kind}", path, _without_path(error.message, path), number)
                else:
                    sizes.append(("images" if top == folder.pictures else "unwrapped textures", size))
        for (top, camera), present in here.items():
            if extra := present - set(numbers):
                problem = f"has {len(extra)} pictures of frames that frame_list.txt does not name"
                found.append(
                    Finding("warning", "frames not listed", self._name(top / segment / camera), problem, segment)
                )
        return found, sizes

    def _check_vertices(self, path: Path, count: int | None) -> str | None:
        if count is None:
            return None
        if self.deep:
            read_vertices(path, count)
            return None
        size = path.stat().st_size
        return None if size == 12 * count else f"has {size} bytes, {size / 12:g} vertices; the topology has {count}"

    def _check_picture(self, path: Path) -> tuple[int, int]:
        size = picture_size(path)
        if self.deep:
            read_picture(path)
        elif not picture_is_whole(path):
            raise CaptureError(f"{path} is truncated: it does not end as PNG files do")
        return size

    def _sizes(self, sizes: dict[str, Counter[tuple[int, int]]]) -> None:
        for name, counted in sizes.items():
            if len(counted) > 1:
                told = ", ".join(f"{count} of {height}×{width}" for (height, width), count in counted.most_common())
                path = self.folder.pictures if name == "images" else self.folder.textures
                self._say("error", "sizes differ", path, f"pictures have different sizes: {told}")
        for height, width in sizes["unwrapped textures"]:
            if height != width:
                self._say("error", "sizes differ", self.folder.textures, f"textures of {height}×{width} are not square")

    def _overview(
        self,
        frames: Sequence[tuple[str, int]],
        cameras: Sequence[KrtCamera],
        in_use: Sequence[str],
        vertices: int | None,
        sizes: dict[str, Counter[tuple[int, int]]],
    ) -> None:
        segments = {segment for segment, _ in frames}
        held_out = {segment for segment in segments if is_held_out(segment)}
        held_out_frames = sum(segment in held_out for segment, _ in frames)
        spoilt = {(f.segment, f.frame) for f in self.report.findings if f.severity == "error" and f.frame is not None}
        distorted = sum(bool(np.abs(camera.distortion).max() > 1e-9) for camera in cameras)
        self.report.overview = {
            "segments": f"{len(segments)}, {len(held_out)} of them held out",
            "frames": f"{len(frames)}, {held_out_frames} of them held out",
            "frames with something missing or wrong": str(len(spoilt)),
            "cameras": f"{len(cameras)} calibrated, {len(in_use)} of them with pictures, {distorted} with distortion",
            "vertices": "unknown" if vertices is None else str(vertices),
            **{name: _most(counted) for name, counted in sizes.items()},
            "checked": "every picture decoded" if self.deep else "headers, endings and lengths",
        }


def _check_transform(path: Path) -> str | None:
    return rotation_problem(read_transform(path)[:, :3])


def _most(counted: Counter[tuple[int, int]]) -> str:
    if not counted:
        return "none"
    (height, width), _ = counted.most_common(1)[0]
    return f"{counted.total()} of {height}×{width}"


def _without_path(message: str, path: Path) -> str:
    return message.removeprefix(str(path)).lstrip(": ")
