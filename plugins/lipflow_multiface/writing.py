"""Writing any capture in Multiface's layout, and beside it what that layout has no place for."""

from __future__ import annotations

import json
import os
import re
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from einops import rearrange
from lipflow_kit.eight_bit import to_bytes
from lipflow_kit.headset import HEADSET_NAMES
from lipflow_kit.observations import ROLES
from lipflow_kit.png_files import write_picture

from lipflow_core.errors import CaptureError, StorageError
from lipflow_core.interfaces import Capture, Renderer, Split
from lipflow_core.progress import Style, progress
from lipflow_core.records import Template
from lipflow_core.storage import check_folder, refuse_links, storage_error, write_atomically
from lipflow_multiface.krt import format_krt
from lipflow_multiface.layout import HELD_OUT, CaptureFolder, is_held_out, name_problem
from lipflow_multiface.segment_writer import SegmentWriter
from lipflow_multiface.small_files import read_about

FORMAT = 1
SPLITS = ("train", "held-out")


@dataclass(frozen=True)
class Written:
    """The result of writing a capture.

    Args:
        frames: Number of frames in the capture.
        segments: Number of segments.
        new: Number of frames written now. The others were there from an interrupted run.
    """

    frames: int
    segments: int
    new: int


def write_capture(
    capture: Capture,
    directory: str | os.PathLike[str],
    renderer: Renderer | None = None,
    *,
    obj_for_each: Literal["frame", "segment"] = "frame",
    workers: int = 2,
    style: Style = "auto",
) -> Written:
    """Write both splits of a capture as one folder in Multiface's layout.

    It is written segment by segment. A complete segment is not written again, so that an interrupted run goes on where
    it stopped. frame_list.txt comes last: without it the capture is not complete. Held-out segments get the prefix
    "EXP_ROM_", unless Multiface's rule (`layout.HELD_OUT`) knows their names already.

    Args:
        capture: The capture to write. It must observe "face" and "dome".
        directory: A new or empty folder, or one with an earlier part of the same capture.
        renderer: Draws depth, for unwrapping each camera's texture. If None, only average textures are written.
        obj_for_each: Whether each frame gets an .obj file, or only the first of each segment. Multiface's own loader
            takes the topology from the first frame that it is asked for, so with shuffled access it needs one for each
            frame. They are large: 0.8 MB for 6,109 vertices.
        workers: Number of threads, each of which writes segments.
        style: Style of the progress bar.

    Raises:
        StorageError: If it can't be written, or another capture is in the way.
        CaptureError: If the capture lacks something that the layout needs.
    """
    folder = CaptureFolder(Path(directory))
    splits = {name: capture.split(name) for name in SPLITS}
    about = _about(capture, splits, textures=renderer is not None, obj_for_each=obj_for_each)
    observations = _observations(capture)
    segments = [(split, *segment) for name, split in splits.items() for segment in _segments(name, split)]
    _take_place(folder, about)
    template = capture.template()
    writer = SegmentWriter(capture, folder, template, renderer, observations, obj_for_each)
    try:
        cameras = writer.calibrate(splits["train"])
        folder.krt.write_text(format_krt(cameras), encoding="utf-8", newline="\n")
        _write_template(folder, template)
        listed = [
            (segment, int(number))
            for split, segment, positions in segments
            for number in np.asarray(split.numbers)[positions]
        ]
        missing = [task for task in segments if not folder.arrays(task[1]).is_file()]
        new = sum(len(positions) for _, _, positions in missing)
        with (
            progress(len(listed), f"write {folder.root.name}", "frame", style=style, initial=len(listed) - new) as bar,
            ThreadPoolExecutor(max(1, workers), thread_name_prefix="lipflow-write") as pool,
        ):
            try:
                for count in pool.map(lambda task: writer.write(*task), missing):
                    bar.advance(count)
            except BaseException:
                pool.shutdown(cancel_futures=True)
                raise
        text = "".join(f"{segment} {number:06d}\n" for segment, number in listed)
        write_atomically(folder.frame_list, text)
        write_atomically(folder.about, json.dumps({**about, "complete": True}, indent=1) + "\n")
    except OSError as error:
        raise storage_error(folder.root, error) from error
    return Written(len(listed), len(segments), new)


def _about(capture: Capture, splits: dict[str, Split], *, textures: bool, obj_for_each: str) -> dict[str, Any]:
    from lipflow_core.version import __version__

    return {
        "format": FORMAT,
        "source": capture.identity,
        "written_by": f"lipflow-core {__version__}",
        "camera_textures": textures,
        "obj_for_each": obj_for_each,
        "frames": {name: len(split) for name, split in splits.items()},
        "headset_cameras": list(HEADSET_NAMES),
        "complete": False,
    }


def _take_place(folder: CaptureFolder, about: dict[str, Any]) -> None:
    """Make the folder, or make sure that it holds an earlier part of the same capture."""
    check_folder(folder.root)
    try:
        folder.root.mkdir(parents=True, exist_ok=True)
        begun = any(folder.extras.iterdir()) if folder.extras.is_dir() else False
        if begun or any(path != folder.extras for path in folder.root.iterdir()):
            there = read_about(folder)
            same = ("format", "source", "camera_textures", "obj_for_each", "frames")
            if any(there.get(name) != about[name] for name in same):
                raise StorageError(
                    f"{folder.root} is not empty, and what it holds is not an earlier part of this capture",
                    "Write to another folder, or remove it.",
                )
            refuse_links(folder.root)
            return
        folder.extras.mkdir(exist_ok=True)
        write_atomically(folder.about, json.dumps(about, indent=1) + "\n")
    except OSError as error:
        raise storage_error(folder.root, error) from error


def _observations(capture: Capture) -> tuple[str, ...]:
    """Give the names of all observations that the capture plans."""
    names = dict.fromkeys(name.split(".")[0] for name in capture.planned.outputs)
    offered = tuple(name for name in names if name not in ("topology", "template"))
    for needed in (ROLES.surface, ROLES.training_views):
        if needed not in offered:
            raise CaptureError(f"the capture has no '{needed}', which Multiface's layout needs")
    return offered


def _segments(split_name: str, split: Split) -> list[tuple[str, np.ndarray]]:
    """Give the name on disk and the positions of each segment of a split."""
    members: dict[str, list[int]] = {}
    for position, segment in enumerate(split.segments):
        members.setdefault(segment, []).append(position)
    named: dict[str, np.ndarray] = {}
    for segment, positions in members.items():
        name = re.sub(r"[^\w.-]+", "_", segment)
        if (split_name == "held-out") != is_held_out(name):
            name = f"{HELD_OUT[0]}_{name}" if split_name == "held-out" else f"train_{name}"
        if problem := name_problem(name):
            raise CaptureError(f"the segment '{name}' {problem}", "Give it another name.")
        if name in named:
            raise CaptureError(f"two segments of the capture would be called '{name}' on disk", "Rename one of them.")
        named[name] = np.array(positions)
    return list(named.items())


def _write_template(folder: CaptureFolder, template: Template) -> None:
    write_picture(folder.texture_mean, to_bytes(rearrange(template.texture_mean, "c h w -> h w c").numpy()))
    folder.vertices_mean.write_bytes(template.vertices_mean.numpy().astype("<f4").tobytes())
    # As float64: squaring in float32 would lose what the root is to give back.
    folder.texture_variance.write_text(f"{(255 * float(template.texture_scale)) ** 2!r}\n", encoding="utf-8")
    folder.vertices_variance.write_text(f"{float(template.vertices_scale) ** 2!r}\n", encoding="utf-8")
    if template.landmarks.numel():
        text = json.dumps({"vertices": template.landmarks.tolist()}) + "\n"
        folder.landmarks.write_text(text, encoding="utf-8")
    if template.regions:
        regions = {name: weights.double().numpy() for name, weights in template.regions.items()}
        listed = {name: weights.nonzero()[0] for name, weights in regions.items()}
        content = {
            name: {"vertices": listed[name].tolist(), "weights": weights[listed[name]].tolist()}
            for name, weights in regions.items()
        }
        folder.regions.write_text(json.dumps(content) + "\n", encoding="utf-8")
