"""Validating a capture on disk: what is missing or wrong, file by file. Imports no torch."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from lipflow_kit.headset import HEADSET_NAMES
from lipflow_kit.png_files import read_picture

from lipflow_core.errors import CaptureError
from lipflow_core.plans import Mismatch
from lipflow_core.progress import Style, progress
from lipflow_multiface.findings import Finding, Report, Severity
from lipflow_multiface.krt import KrtCamera, calibration_problem, parse_krt
from lipflow_multiface.layout import CaptureFolder, folders_in, is_held_out, numbers_in, reading
from lipflow_multiface.obj_files import Mesh, find_mesh, read_mesh
from lipflow_multiface.segment_checks import HEADSET, PICTURES, TEXTURES, Expected, check_segment, without_path
from lipflow_multiface.small_files import (
    parse_frame_list,
    read_about,
    read_arrays,
    read_landmarks,
    read_number,
    read_regions,
    read_text,
)
from lipflow_multiface.survey import other_shapes
from lipflow_multiface.texture_orientation import TELLING, texture_agreement
from lipflow_multiface.tracked_mesh import read_vertices


def validate(root: str | os.PathLike[str], *, deep: bool = False, workers: int = 4, style: Style = "auto") -> Report:
    """Check every file of a capture. A capture without errors under `deep` can be trained on.

    Args:
        root: The capture's folder.
        deep: Decode every picture and read every number; otherwise headers, endings and lengths are looked at.
        workers: Number of threads.
        style: Style of the progress bar.

    Raises:
        CaptureError: If the folder does not exist, can't be read, or is no capture at all.
    """
    folder = CaptureFolder(Path(root))
    with reading(folder.root):
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
        self._statistics(mesh)
        by_segment: dict[str, list[int]] = {}
        for segment, number in frames:
            by_segment.setdefault(segment, []).append(number)
        filmed = self._cameras(cameras, list(by_segment))
        self._segments(by_segment)
        if mesh is not None and frames and filmed:
            self._orientation(mesh, [camera for camera in cameras if camera.name in filmed], frames)
        expected = self._expected(filmed, mesh, frames)
        sizes: dict[str, Counter[tuple[int, int]]] = {name: Counter() for name in (PICTURES, TEXTURES, HEADSET)}
        with (
            progress(len(frames), "validate", "frame", style=style) as bar,
            ThreadPoolExecutor(max(1, workers), thread_name_prefix="lipflow-validate") as pool,
        ):
            checked = pool.map(
                lambda item: check_segment(self.folder, expected, *item, deep=self.deep), by_segment.items()
            )
            for (segment, numbers), found in zip(by_segment.items(), checked, strict=True):
                self.report.findings += found.findings
                for name, size in found.sizes:
                    sizes[name][size] += 1
                bar.advance(len(numbers), segment=segment)
        self._sizes(sizes)
        if not self.report.errors:
            self._training()
        self._overview(frames, cameras, filmed, mesh, sizes)
        return self.report

    def _say(self, severity: Severity, kind: str, path: Path, problem: str, line: int | None = None) -> None:
        name = str(path.relative_to(self.folder.root))
        self.report.findings.append(Finding(severity, kind, name if line is None else f"{name}:{line}", problem))

    def _tell(self, kind: str, path: Path, error: CaptureError) -> None:
        self._say("error", kind, path, without_path(error.message, path))

    def _try(self, kind: str, path: Path, read: Callable[[], object]) -> None:
        if not path.is_file():
            self._say("error", "file missing", path, "is missing")
            return
        try:
            read()
        except CaptureError as error:
            self._tell(kind, path, error)

    def _text(self, path: Path) -> str | None:
        try:
            text = read_text(path)
        except CaptureError as error:
            self._tell("file unreadable" if path.exists() else "file missing", path, error)
            return None
        if b"\r" in path.read_bytes():
            self._say("error", "Windows line ends", path, "has Windows line ends, which other readers do not expect")
        return text

    def _frame_list(self) -> list[tuple[str, int]]:
        path = self.folder.frame_list
        self._about()
        text = self._text(path)
        if text is None:
            return self._found_frames()
        frames, wrong = parse_frame_list(text)
        for line in wrong:
            kind = "frame listed twice" if line.harmless else "bad line"
            self._say("error", kind, path, line.problem, line.number)
        if not frames:
            self._say("error", "no frames", path, "names no frames")
        return frames

    def _about(self) -> None:
        """Check capture.json, and whether a capture that this project wrote is complete."""
        try:
            about = read_about(self.folder)
        except CaptureError as error:
            self._tell("file unreadable", self.folder.about, error)
            return
        if about and not about.get("complete"):
            self._say("error", "incomplete", self.folder.about, "says that the capture was not written to its end")

    def _found_frames(self) -> list[tuple[str, int]]:
        """List the frames that have vertices, where no frame list names them."""
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
            if problem := calibration_problem(camera):
                self._say("error", "bad calibration", path, problem, camera.line)
        return [camera for camera in cameras if calibration_problem(camera) is None]

    def _topology(self, frames: Sequence[tuple[str, int]]) -> Mesh | None:
        """Read the mesh of the first .obj file."""
        try:
            path = find_mesh(self.folder, frames)
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
        """Warn if textures agree better with pictures when they are turned upside down."""
        some = [frames[index] for index in np.unique(np.linspace(0, len(frames) - 1, 3).astype(int))]
        straight, flipped = texture_agreement(self.folder, mesh, cameras[:8], some)
        if flipped > straight + TELLING:
            problem = (
                f"seem to be stored with row 0 at v = 0: their correlation with pictures is {straight:.2f}, and "
                f"{flipped:.2f} when turned upside down; set the option texture_rows to bottom-up"
            )
            self._say("warning", "textures upside down", self.folder.textures, problem)

    def _statistics(self, mesh: Mesh | None) -> None:
        folder = self.folder
        for path in (folder.texture_variance, folder.vertices_variance):
            self._try("bad statistics", path, lambda path=path: read_number(path))
        if mesh is not None:
            count = len(mesh.vertices)
            self._try("bad vertices", folder.vertices_mean, lambda: read_vertices(folder.vertices_mean, count))
            if folder.landmarks.is_file():
                self._try("bad landmarks", folder.landmarks, lambda: read_landmarks(folder.landmarks, count))
            if folder.regions.is_file():
                self._try("bad regions", folder.regions, lambda: read_regions(folder.regions, count))
        self._try("bad picture", folder.texture_mean, lambda: read_picture(folder.texture_mean))

    def _cameras(self, cameras: Sequence[KrtCamera], segments: Sequence[str]) -> list[str]:
        """Give the names of calibrated cameras with pictures."""
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
        """Warn of segments that are on disk and not in the list."""
        for segment in folders_in(self.folder.meshes):
            if segment not in listed:
                problem = "is not in frame_list.txt"
                self._say("warning", "segment not listed", self.folder.meshes / segment, problem)

    def _expected(self, filmed: Sequence[str], mesh: Mesh | None, frames: Sequence[tuple[str, int]]) -> Expected:
        """Find out what each frame should have beside Multiface's own files."""
        folder, others, landmarks = self.folder, {}, None
        for segment in dict.fromkeys(segment for segment, _ in frames):
            if folder.arrays(segment).is_file():
                try:
                    others = other_shapes(read_arrays(folder.arrays(segment))[1])
                except CaptureError as error:
                    self._tell("bad arrays", folder.arrays(segment), error)
                break
        if mesh is not None and folder.landmarks.is_file():
            try:
                landmarks = len(read_landmarks(folder.landmarks, len(mesh.vertices)))
            except CaptureError:  # told already
                landmarks = None
        headset = any(folder.headset(segment, HEADSET_NAMES[0], number).is_file() for segment, number in frames)
        return Expected(filmed, mesh, headset, others, landmarks)

    def _sizes(self, sizes: dict[str, Counter[tuple[int, int]]]) -> None:
        places = {PICTURES: self.folder.pictures, TEXTURES: self.folder.textures, HEADSET: self.folder.extras}
        for name, counted in sizes.items():
            if len(counted) > 1:
                told = ", ".join(f"{count} of {height}×{width}" for (height, width), count in counted.most_common())
                self._say("error", "sizes differ", places[name], f"{name} have different sizes: {told}")
        for height, width in sizes[TEXTURES]:
            if height != width:
                self._say("error", "sizes differ", self.folder.textures, f"textures of {height}×{width} are not square")

    def _training(self) -> None:
        """Check what only the reader that training uses would find."""
        from lipflow_multiface.config import MultifaceConfig
        from lipflow_multiface.frame_index import index_frames

        # At a small size, since how large pictures may be drawn is a matter of options.
        config = MultifaceConfig(path=self.folder.root, image=8, supersampling=1)
        try:
            found = config.survey()
            if found.problem is not None:
                raise Mismatch(found.problem)
            frames = index_frames(config, found).frames
        except CaptureError as error:
            self._say("error", "refused by the reader", self.folder.root, error.message)
        except Mismatch as error:
            self._say("error", "refused by the reader", self.folder.root, str(error))
        else:
            for name in ("train", "held-out"):
                if not frames[name]:
                    prefixes = " or ".join(config.held_out)
                    problem = f"has no {name} frames; segments are held out if their names begin with {prefixes}"
                    self._say("error", "empty split", self.folder.frame_list, problem)

    def _overview(
        self,
        frames: Sequence[tuple[str, int]],
        cameras: Sequence[KrtCamera],
        filmed: Sequence[str],
        mesh: Mesh | None,
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
            "cameras": f"{len(cameras)} calibrated, {len(filmed)} of them with pictures, {distorted} with distortion",
            "vertices": "unknown" if mesh is None else str(len(mesh.vertices)),
            **{name: _most(counted) for name, counted in sizes.items()},
            "checked": "every picture and number" if self.deep else "headers, endings and lengths",
        }


def _most(counted: Counter[tuple[int, int]]) -> str:
    if not counted:
        return "none"
    (height, width), _ = counted.most_common(1)[0]
    return f"{counted.total()} of {height}×{width}"
