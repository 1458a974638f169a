"""Which frames can be read, found out without opening any of their files. Imports no torch."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lipflow_kit.headset import HEADSET_NAMES

from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.layout import AVERAGE, CaptureFolder, folders_in, is_held_out, numbers_in, reading
from lipflow_multiface.small_files import read_arrays, read_frame_list
from lipflow_multiface.survey import Survey


@dataclass(frozen=True)
class Index:
    """Frames that can be read, and the number of those that can't.

    Args:
        frames: Split → (segment, number) of each frame.
        skipped: Split → reason → number of frames left out.
    """

    frames: Mapping[str, list[tuple[str, int]]]
    skipped: Mapping[str, Mapping[str, int]]


def index_frames(config: MultifaceConfig, found: Survey) -> Index:
    """Find the frames of both splits that have all files that are needed.

    Raises:
        CaptureError: If the frame list, a folder, or the arrays beside a segment can't be read.
    """
    folder = CaptureFolder(config.path)
    by_segment: dict[str, list[int]] = {}
    with reading(folder.root):
        for segment, number in read_frame_list(folder):
            by_segment.setdefault(segment, []).append(number)
        frames: dict[str, list[tuple[str, int]]] = {"train": [], "held-out": []}
        skipped: dict[str, Counter[str]] = {"train": Counter(), "held-out": Counter()}
        for segment, numbers in by_segment.items():
            split = "held-out" if is_held_out(segment, config.held_out) else "train"
            needed = _needed(folder, found, segment)
            for number in numbers:
                reason = next((reason for reason, present in needed if number not in present), None)
                if reason is None:
                    frames[split].append((segment, number))
                else:
                    skipped[split][reason] += 1
    return Index(frames, skipped)


def _needed(folder: CaptureFolder, found: Survey, segment: str) -> list[tuple[str, set[int]]]:
    """Give pairs of a reason to leave a frame out, and the frames of a segment to which it does not apply."""
    needed = [
        ("no vertices", numbers_in(folder.meshes / segment, ".bin")),
        ("no head pose", numbers_in(folder.meshes / segment, "_transform.txt")),
        ("no average texture", numbers_in(folder.textures / segment / AVERAGE, ".png")),
    ]
    for camera in found.cameras:
        needed.append(("no picture of some camera", numbers_in(folder.pictures / segment / camera.name, ".png")))
    if found.recorded:
        for camera in HEADSET_NAMES:
            for place in (folder.headset, folder.headset_mask):
                needed.append(("no headset picture", numbers_in(place(segment, camera, 0).parent, ".png")))
    if found.recorded or found.recorded_others:
        path = folder.arrays(segment)
        numbers, arrays = read_arrays(path) if path.is_file() else ([], {})
        told = set(numbers if arrays else [])
        if found.recorded:
            needed.append(("no headset camera", told if "headset.camera.extrinsics" in arrays else set()))
        if found.recorded_others:
            needed.append(("no ground truth", told if arrays.keys() >= set(found.recorded_others) else set()))
    return needed


def signature(config: MultifaceConfig, found: Survey) -> str:
    """Hash the sizes that a survey found and the times at which the capture's folders changed.

    It is quick to get and differs once a file came or went, or a size changed. A picture that is overwritten in place
    by one of the same size leaves it as it is.
    """
    folder = CaptureFolder(config.path)
    sizes = [found.disk_image, found.image, found.disk_texture, found.texture, found.headset, found.others]
    digest = hashlib.sha256(json.dumps([sizes, [camera.name for camera in found.cameras]]).encode())
    tops = [found.mesh_file, folder.meshes, folder.extras]
    for segment in folders_in(folder.meshes):
        tops += [folder.meshes / segment, folder.textures / segment / AVERAGE]
        tops += [folder.pictures / segment / camera.name for camera in found.cameras]
        if found.recorded:
            tops += [folder.headset(segment, camera, 0).parent for camera in HEADSET_NAMES]
    for top in tops:
        digest.update(f"{top.relative_to(folder.root)} {_modified(top)}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]


def _modified(path: Path) -> int | None:
    try:
        return path.stat().st_mtime_ns
    except OSError:
        return None
