"""The capture `multiface`: a subject on disk in Multiface's layout, read from its packed cache if it has one."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import torch
from lipflow_kit.cache_folder import cache_folder
from lipflow_kit.headset import chosen_anchors
from lipflow_kit.landmarks import choose_landmarks
from lipflow_kit.observations import ROLES
from lipflow_kit.packing import PackedSplit, open_pack, pack
from lipflow_kit.png_files import read_picture
from lipflow_kit.regions import face_regions
from lipflow_kit.store import remove_marks

from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import Capture, Split
from lipflow_core.plans import CaptureInputs
from lipflow_core.progress import Style
from lipflow_core.records import Template, Topology
from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.frame_files import FrameReader
from lipflow_multiface.frame_index import Index, index_frames, signature
from lipflow_multiface.layout import AVERAGE, CaptureFolder, reading
from lipflow_multiface.small_files import read_landmarks, read_number, read_regions
from lipflow_multiface.split import MultifaceSplit
from lipflow_multiface.survey import Survey, landmark_file, mean_vertices, region_file

DATA_VERSION = 3
"""Version of the frames, raised whenever the same files and options give other frames. Packs of other versions are not
used."""

SPLITS = ("train", "held-out")
STATISTICS_FRAMES = 64
"""Number of training frames whose statistics replace missing tex_mean, tex_var, vert_mean or vert_var."""


class MultifaceCapture(Capture):
    """A capture of one subject on disk in Multiface's layout.

    It is read as it is now: later changes on disk are seen by a new `MultifaceCapture`, not by this one.

    Example:
        >>> config = MultifaceConfig(path="m--20180227--0000--6795937--GHS", image=96, texture=64)
        >>> capture = MultifaceCapture(config, CaptureInputs())
        >>> capture.split("held-out").skipped
        {}
    """

    def __init__(self, config: MultifaceConfig, given: CaptureInputs):
        super().__init__(config, given)
        self._splits: dict[str, Split] = {}

    @functools.cached_property
    def survey(self) -> Survey:
        """The sizes that the capture's files tell."""
        return self.config.survey()

    @functools.cached_property
    def index(self) -> Index:
        """The frames that can be read, and the number of those that can't."""
        return index_frames(self.config, self.survey)

    @property
    def folder(self) -> Path:
        """The folder of the packed cache of this content under these options, whether it exists or not."""
        name = Path(os.path.realpath(self.config.path)).name
        return cache_folder(self.config.cache, "multiface") / f"{name}-{self._content}"

    @functools.cached_property
    def _content(self) -> str:
        """A hash of the options and of the capture's small files."""
        options = self.config.model_dump(mode="json", exclude={"path", "cache", "landmarks", "regions"})
        digest = hashlib.sha256(json.dumps({"multiface": DATA_VERSION, **options}, sort_keys=True).encode())
        folder = CaptureFolder(self.config.path)
        files = [folder.frame_list, folder.krt, folder.texture_mean, folder.texture_variance]
        files += [folder.vertices_mean, folder.vertices_variance, folder.about]
        files.append(landmark_file(folder, self.config.landmarks))
        with reading(folder.root):
            for file in files:
                content = file.read_bytes() if file is not None and file.is_file() else b""
                digest.update(f"{len(content)} ".encode() + content)
        return digest.hexdigest()[:16]

    @functools.cached_property
    def _signature(self) -> str:
        with reading(self.config.path):
            return signature(self.config, self.survey)

    @functools.cached_property
    def identity(self) -> str:
        """A hash of options, small files and the list of frames that can be read. Pictures are not hashed."""
        packed = self._packed("train")
        if packed is not None and packed.identity is not None:
            return packed.identity
        frames = json.dumps({name: self.index.frames[name] for name in SPLITS})
        return hashlib.sha256(f"{self._content} {frames}".encode()).hexdigest()[:16]

    def split(self, name: str) -> Split:
        if name not in SPLITS:
            raise CaptureError(f"the capture has no split '{name}'", f"It has {' and '.join(SPLITS)}.")
        if name not in self._splits:
            self._splits[name] = self._packed(name) or self._unpacked(name)
        return self._splits[name]

    def pack(self, *, workers: int = 2, style: Style = "auto") -> dict[str, PackedSplit]:
        """Pack both splits, or open the packs that exist.

        Args:
            workers: Number of threads that decode.
            style: Style of the progress bar.

        Returns:
            Split → its packed frames.

        Raises:
            lipflow_core.errors.StorageError: If the pack can't be written.
            CaptureError: If a frame can't be read.
        """
        packed = {}
        for name in SPLITS:
            there = self._packed(name)
            if there is None:
                split = self._unpacked(name)
                there = pack(
                    split,
                    self.folder / name,
                    [observation for observation in split.observations if observation != ROLES.scored_view],
                    {**self._about, "identity": self.identity},
                    frontal=split.frontal,
                    skipped=split.skipped,
                    workers=workers,
                    label=f"pack {name}",
                    style=style,
                )
            else:
                remove_marks(self.folder / name)
            packed[name] = self._splits[name] = there
        return packed

    @property
    def _about(self) -> dict[str, str]:
        return {"content": self._content, "signature": self._signature}

    def _packed(self, name: str) -> PackedSplit | None:
        return open_pack(self.folder / name, self._about)

    def _unpacked(self, name: str) -> MultifaceSplit:
        frames, skipped = self.index.frames[name], self.index.skipped[name]
        if not frames:
            told = f"; {sum(skipped.values())} were left out: {_told(skipped)}" if skipped else ""
            raise CaptureError(
                f"the capture at {self.config.path} has no {name} frames that can be read{told}",
                "`lipflow-core capture validate` lists what is missing; segments are held out by the option held_out.",
            )
        inputs = self.config.renderer_inputs(self.survey)
        return MultifaceSplit(
            self._reader,
            frames,
            self._topology,
            self.config.renderer.build(inputs),
            self._landmarks,
            self._mean,
            dict(skipped),
        )

    @functools.cached_property
    def _reader(self) -> FrameReader:
        return FrameReader(self.config, self.survey)

    @functools.cached_property
    def _topology(self) -> Topology:
        mesh = self.survey.mesh
        return Topology(
            torch.from_numpy(mesh.triangles), torch.from_numpy(mesh.uv).clamp(0, 1), torch.from_numpy(mesh.uv_triangles)
        )

    @functools.cached_property
    def _mean(self) -> np.ndarray:
        return mean_vertices(CaptureFolder(self.config.path), self.survey.mesh)

    @functools.cached_property
    def _landmarks(self) -> np.ndarray:
        file = landmark_file(CaptureFolder(self.config.path), self.config.landmarks)
        return choose_landmarks(self._mean) if file is None else read_landmarks(file, self.survey.vertices)

    @functools.cached_property
    def _regions(self) -> dict[str, np.ndarray]:
        file = region_file(CaptureFolder(self.config.path), self.config.regions)
        if file is None:
            return face_regions(self._mean, chosen_anchors(self._mean, **self.config.headset.anchors))
        return read_regions(file, self.survey.vertices)

    def template(self) -> Template:
        """Give the mesh, its means and scales, from the subject's files, or where they are missing, from 64 frames."""
        with reading(self.config.path):
            return self._template

    @functools.cached_property
    def _template(self) -> Template:
        folder = CaptureFolder(self.config.path)
        if folder.vertices_mean.is_file() and folder.vertices_variance.is_file():
            vertices, scale = self._mean.astype(np.float64), read_number(folder.vertices_variance) ** 0.5
        else:
            vertices, scale = _mean_and_scale([self._reader.vertices(*frame) for frame in self._some])
        plain = self.config.colour.gamma == 1 and not self.config.colour.gain
        if folder.texture_mean.is_file() and folder.texture_variance.is_file() and plain:
            texture = self._reader.finish_texture(read_picture(folder.texture_mean), "*") / 255
            texture_scale = read_number(folder.texture_variance) ** 0.5 / 255
        else:
            # The file's variance is of the colours on disk, so it is computed anew where colours are changed.
            textures = [self._reader.texture(segment, AVERAGE, number) for segment, number in self._some]
            texture, texture_scale = _mean_and_scale([image.astype(np.float32) / 255 for image in textures])
        return Template(
            topology=self._topology,
            vertices_mean=torch.from_numpy(vertices).float(),
            vertices_scale=torch.tensor(scale).float(),
            texture_mean=torch.from_numpy(texture).float(),
            texture_scale=torch.tensor(texture_scale).float(),
            landmarks=torch.from_numpy(self._landmarks),
            regions={name: torch.from_numpy(weights) for name, weights in self._regions.items()},
        )

    @property
    def _some(self) -> list[tuple[str, int]]:
        frames = self.index.frames["train"]
        if not frames:
            raise CaptureError(f"the capture at {self.config.path} has no training frames that can be read")
        return [frames[index] for index in np.unique(np.linspace(0, len(frames) - 1, STATISTICS_FRAMES).astype(int))]


def _mean_and_scale(arrays: list[np.ndarray]) -> tuple[np.ndarray, float]:
    """Give the mean over arrays, and one scalar deviation from it that is never zero."""
    values = np.stack(arrays).astype(np.float64)
    mean = values.mean(0)
    return mean, max(float(np.sqrt(((values - mean) ** 2).mean())), 1e-6)


def _told(skipped: dict[str, int]) -> str:
    return ", ".join(f"{count} had {reason}" for reason, count in skipped.items())
