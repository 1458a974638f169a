"""Which frames can be read, found out without opening any of their files. Imports no torch."""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from lipflow_kit.headset import HEADSET_NAMES

from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.layout import AVERAGE, CaptureFolder, folders_in, is_held_out, numbers_in, read_frame_list
from lipflow_multiface.survey import Survey, read_truth


@dataclass(frozen=True)
class Index:
    """Frames that can be read, and how many can't.

    Args:
        frames: Split → (segment, number) of each frame.
        skipped: Split → reason → number of frames left out.
    """

    frames: Mapping[str, list[tuple[str, int]]]
    skipped: Mapping[str, Mapping[str, int]]


def index_frames(config: MultifaceConfig, found: Survey) -> Index:
    """Find out which frames have all that is needed, without opening a file of theirs."""
    folder = CaptureFolder(config.path)
    by_segment: dict[str, list[int]] = {}
    for segment, number in read_frame_list(folder):
        by_segment.setdefault(segment, []).append(number)
    frames: dict[str, list[tuple[str, int]]] = {"train": [], "held-out": []}
    skipped: dict[str, Counter[str]] = {"train": Counter(), "held-out": Counter()}
    for segment, numbers in by_segment.items():
        split = "held-out" if is_held_out(segment, config.held_out) else "train"
        needed = [
            ("no vertices", numbers_in(folder.meshes / segment, ".bin")),
            ("no head pose", numbers_in(folder.meshes / segment, "_transform.txt")),
            ("no average texture", numbers_in(folder.textures / segment / AVERAGE, ".png")),
        ]
        for camera in found.cameras:
            needed.append(("no picture of some camera", numbers_in(folder.pictures / segment / camera.name, ".png")))
        if found.recorded:
            for camera in HEADSET_NAMES:
                place = folder.headset(segment, camera, 0).parent
                needed.append(("no headset picture", numbers_in(place, ".png")))
            told = read_truth(folder.truth(segment)) if folder.truth(segment).is_file() else {}
            needed.append(("no headset camera", set(told.get("numbers", np.zeros(0)).tolist())))
        for number in numbers:
            reason = next((reason for reason, present in needed if number not in present), None)
            if reason is None:
                frames[split].append((segment, number))
            else:
                skipped[split][reason] += 1
    return Index(frames, skipped)


def signature(config: MultifaceConfig, found: Survey) -> str:
    """Hash of when the capture's folders last changed: quick to get, and different once a file came or went.

    A file that is overwritten in place leaves it as it is.
    """
    folder = CaptureFolder(config.path)
    digest = hashlib.sha256()
    tops = [folder.meshes, folder.extras, *_segment_folders(folder.meshes)]
    names = [AVERAGE, *(camera.name for camera in found.cameras)]
    for segment in folders_in(folder.meshes):
        tops += [folder.textures / segment / AVERAGE]
        tops += [folder.pictures / segment / name for name in names[1:]]
        if found.recorded:
            tops += [folder.headset(segment, camera, 0).parent for camera in HEADSET_NAMES]
    for top in tops:
        try:
            digest.update(f"{top.relative_to(folder.root)} {os.stat(top).st_mtime_ns}\n".encode())
        except OSError:
            digest.update(f"{top.relative_to(folder.root)} -\n".encode())
    return digest.hexdigest()[:16]


def _segment_folders(meshes: Path) -> list[Path]:
    return [meshes / segment for segment in folders_in(meshes)]
