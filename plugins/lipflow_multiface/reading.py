"""Frames as they are read from the layout on disk, one file at a time."""

from __future__ import annotations

import functools
import threading
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange, repeat

from lipflow_core.captures.cameras import compose, enlarge, positions, project
from lipflow_core.captures.headset import (
    HEADSET_NAMES,
    Anchors,
    draw_slip,
    estimate_anchors,
    headset_cameras,
    light_pictures,
)
from lipflow_core.captures.krt import rotation_problem
from lipflow_core.captures.layout import AVERAGE, CaptureFolder
from lipflow_core.captures.meshes import read_transform, read_vertices
from lipflow_core.captures.packing import check_indices, named_record
from lipflow_core.captures.pictures import (
    correct_colour,
    largest_distortion,
    read_picture,
    shrink,
    shrink_intrinsics,
    to_bytes,
    undistort,
)
from lipflow_core.captures.texels import HIDDEN_BEHIND, blend, view_weights
from lipflow_core.errors import CaptureError
from lipflow_core.interfaces import FrameRequest, Renderer, Split
from lipflow_core.records import LUMINANCE, Camera, FaceState, Frame, Keypoints, Record, Topology, Views
from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.survey import NEGLIGIBLE, Survey, read_truth

SEGMENTS_KEPT = 8
VIEWS_AT_ONCE = 64


@dataclass(frozen=True)
class Rig:
    """The dome's cameras as pictures are read.

    Args:
        intrinsics: (C, 3, 3) pixels, float64.
        extrinsics: (C, 3, 4) world → camera, float64.
        bent: (C,) whether the lens distortion has to be removed.
    """

    intrinsics: np.ndarray
    extrinsics: np.ndarray
    bent: np.ndarray


class FrameReader:
    """Reads what is on disk of single frames.

    Args:
        config: The capture's options.
        found: What its files say.
    """

    def __init__(self, config: MultifaceConfig, found: Survey):
        self.config = config
        self.found = found
        self.folder = CaptureFolder(config.path)
        intrinsics = np.stack([camera.intrinsics for camera in found.cameras])
        moved = [largest_distortion(c.intrinsics, c.distortion, found.disk_image) for c in found.cameras]
        scale = max(found.image) / max(found.disk_image)
        self.rig = Rig(
            shrink_intrinsics(intrinsics, found.disk_image, found.image),
            np.stack([camera.extrinsics for camera in found.cameras]),
            (np.array(moved) * scale > NEGLIGIBLE) & (config.distortion == "undistort"),
        )
        self.truth = functools.lru_cache(maxsize=SEGMENTS_KEPT)(self._truth)

    def vertices(self, segment: str, number: int) -> np.ndarray:
        """(V, 3) float32 millimetres, head frame."""
        return read_vertices(self.folder.vertices(segment, number), self.found.vertices)

    def pose(self, segment: str, number: int) -> np.ndarray:
        """(3, 4) head → world. Raises a CaptureError if its rotation is none."""
        path = self.folder.transform(segment, number)
        pose = read_transform(path)
        if problem := rotation_problem(pose[:, :3]):
            raise CaptureError(f"{path}: the rotation {problem}")
        return pose

    def picture(self, segment: str, camera: int, number: int) -> np.ndarray:
        """(3, h, w) uint8 of a camera in use, as losses see it: straight, in colour, at the size read."""
        calibrated = self.found.cameras[camera]
        path = self.folder.picture(segment, calibrated.name, number)
        picture = read_picture(path)
        if picture.shape[:2] != self.found.disk_image:
            height, width = self.found.disk_image
            raise CaptureError(
                f"{path} has {picture.shape[0]}×{picture.shape[1]} pixels, other pictures have {height}×{width}"
            )
        if self.rig.bent[camera]:
            picture = undistort(picture, calibrated.intrinsics, calibrated.distortion)
        return self._finish(picture, self.found.image, calibrated.name)

    def texture(self, segment: str, camera: str, number: int) -> np.ndarray:
        """(3, T, T) uint8, row 0 at v = 1, of a camera's name or "average"."""
        path = self.folder.texture(segment, camera, number)
        return self.finish_texture(read_picture(path), "*" if camera == AVERAGE else camera)

    def finish_texture(self, texture: np.ndarray, camera: str) -> np.ndarray:
        """A decoded texture (H, W, 3) as it is used: (3, T, T) uint8, row 0 at v = 1."""
        if self.config.texture_rows == "bottom-up":
            texture = texture[::-1]
        return self._finish(texture, (self.found.texture, self.found.texture), camera)

    def headset(self, segment: str, camera: str, number: int) -> tuple[np.ndarray, np.ndarray]:
        """A recorded headset picture (1, h, w) and its mask (h, w), uint8."""
        picture = read_picture(self.folder.headset(segment, camera, number), channels=1)
        mask = read_picture(self.folder.headset_mask(segment, camera, number), channels=1)
        for path, values in ((self.folder.headset, picture), (self.folder.headset_mask, mask)):
            if values.shape[:2] != self.found.headset:
                height, width = self.found.headset
                name = path(segment, camera, number)
                raise CaptureError(f"{name} has {values.shape[0]}×{values.shape[1]} pixels, others {height}×{width}")
        return picture[None, ..., 0], mask[..., 0]

    def recorded(self, segment: str, number: int) -> dict[str, np.ndarray]:
        """Arrays that lie beside the capture, of one frame; empty if there are none."""
        arrays, rows = self.truth(segment)
        if number not in rows:
            return {}
        return {name: array[rows[number]] for name, array in arrays.items()}

    def _truth(self, segment: str) -> tuple[dict[str, np.ndarray], dict[int, int]]:
        path = self.folder.truth(segment)
        if not path.is_file():
            return {}, {}
        arrays = read_truth(path)
        return arrays, {number: row for row, number in enumerate(arrays.pop("numbers").tolist())}

    def _finish(self, picture: np.ndarray, size: tuple[int, int], camera: str) -> np.ndarray:
        colour = self.config.colour
        gain = colour.gain_of(camera)
        plain = gain == (1.0, 1.0, 1.0) and colour.gamma == 1
        if plain and picture.shape[:2] == size and picture.dtype == np.uint8:
            return rearrange(picture, "h w c -> c h w")
        picture = shrink(picture, size)
        return rearrange(to_bytes(picture if plain else correct_colour(picture, gain, colour.gamma)), "h w c -> c h w")


class MultifaceSplit(Split):
    """Frames of one split, read from the layout on disk as they are asked for.

    Besides the standard observations it has those that lie beside a simulated capture ("truth"), and of virtual
    headset pictures what was sampled ("sampled": slip and light).

    Args:
        reader: Reads single frames.
        frames: (segment, number) of each.
        topology: The mesh's.
        renderer: Draws masks and headset pictures.
        landmarks: (K,) vertex of each keypoint.
        mean: (V, 3) the subject's mean mesh, where the headset is fitted.
        skipped: How many frames were left out, by reason.
    """

    def __init__(
        self,
        reader: FrameReader,
        frames: list[tuple[str, int]],
        topology: Topology,
        renderer: Renderer,
        landmarks: np.ndarray,
        mean: np.ndarray,
        skipped: Mapping[str, int],
    ):
        self.reader = reader
        self.frames = frames
        self.topology = topology
        self.renderer = renderer
        self.landmarks = landmarks
        self.skipped = skipped
        self.segments = [segment for segment, _ in frames]
        self.numbers = np.array([number for _, number in frames], np.int64)
        self.cameras = [camera.name for camera in reader.found.cameras]
        self.frontal = reader.found.frontal
        self._mean = mean
        self._drawing = threading.Lock()

    @property
    def observations(self) -> tuple[str, ...]:
        """Names of what can be asked for."""
        headset = ("headset",) if self.reader.found.headset is not None else ()
        others = dict.fromkeys(name.split(".")[0] for name in self.reader.found.others)
        return ("face", "dome", "frontal", *headset, "keypoints", *others)

    def load(self, request: FrameRequest) -> Frame:
        indices = np.asarray(request.indices)
        check_indices(indices, len(self))
        frames = _Frames([self.frames[index] for index in indices.tolist()], self.reader)
        return Frame(
            segments=tuple(segment for segment, _ in frames.names),
            numbers=torch.from_numpy(self.numbers[indices]),
            observations={name: self._observe(name, frames, request.cameras) for name in request.observations},
        )

    def _observe(self, name: str, frames: _Frames, cameras: np.ndarray | None) -> Record:
        if name not in self.observations:
            raise CaptureError(f"the capture has no observation '{name}'", f"It has {', '.join(self.observations)}.")
        match name:
            case "face":
                textures = [self.reader.texture(segment, AVERAGE, number) for segment, number in frames.names]
                return FaceState(torch.from_numpy(frames.vertices), _unit(_stack(textures, self._texture_shape)))
            case "dome":
                if cameras is None:
                    raise ValueError("the observation 'dome' needs `cameras` in the FrameRequest")
                return self._views(frames, np.asarray(cameras))
            case "frontal":
                return self._views(frames, np.full((len(frames.names), 1), self.frontal))
            case "headset":
                return self._recorded_headset(frames) if self.reader.found.recorded else self._virtual(frames)[0]
            case "keypoints":
                return self._keypoints(frames)
            case "sampled":
                return self._virtual(frames)[1]
        tensors = tuple(
            tensor for owner, tensor in (key.split(".", 1) for key in self.reader.found.others) if owner == name
        )
        values = [
            torch.from_numpy(frames.recorded(f"{name}.{tensor}", self.reader.found.others[f"{name}.{tensor}"]))
            for tensor in tensors
        ]
        return named_record(name, tensors)(*values)

    @property
    def _texture_shape(self) -> tuple[int, int, int]:
        return (3, self.reader.found.texture, self.reader.found.texture)

    def _views(self, frames: _Frames, cameras: np.ndarray) -> Views:
        found, rig = self.reader.found, self.reader.rig
        pictures = [
            self.reader.picture(segment, camera, number)
            for (segment, number), row in zip(frames.names, cameras.tolist(), strict=True)
            for camera in row
        ]
        images = _stack(pictures, (3, *found.image)).reshape(*cameras.shape, 3, *found.image)
        extrinsics = self._extrinsics(frames)[np.arange(len(cameras))[:, None], cameras]
        intrinsics = rig.intrinsics[cameras]
        mask, _ = self._draw(frames.vertices, None, intrinsics, extrinsics, found.image)
        return Views(_unit(images), _camera(intrinsics, extrinsics, found.image), _quantised(mask))

    def _extrinsics(self, frames: _Frames) -> np.ndarray:
        """(B, C, 3, 4) head → camera."""
        return compose(self.reader.rig.extrinsics, frames.poses)

    def _keypoints(self, frames: _Frames) -> Keypoints:
        found, rig = self.reader.found, self.reader.rig
        frontal = np.full((len(frames.names), 1), self.frontal)
        intrinsics = rig.intrinsics[frontal]
        extrinsics = self._extrinsics(frames)[np.arange(len(frontal))[:, None], frontal]
        camera = _camera(intrinsics[:, 0], extrinsics[:, 0], found.image)
        count = len(self.landmarks)
        if (points := frames.recorded_or_none("keypoints.points")) is not None and points.shape[1] == count:
            # Written at the size on disk; a point moves with the pixels that `shrink` averages.
            scale = np.array([found.image[1] / found.disk_image[1], found.image[0] / found.disk_image[0]], np.float32)
            moved = (points + np.float32(0.5)) * scale - np.float32(0.5) if found.image != found.disk_image else points
            visible = frames.recorded("keypoints.visible", (count,))
            return Keypoints(torch.from_numpy(moved), torch.from_numpy(visible), camera)
        landmarks = frames.vertices[:, self.landmarks].astype(np.float64)
        points, away = project(landmarks, intrinsics[:, 0], extrinsics[:, 0])
        _, depth = self._draw(frames.vertices, None, intrinsics, extrinsics, found.image)
        factor = self.reader.config.supersampling
        fine = np.rint(points * factor + (factor - 1) / 2).astype(np.int64)
        height, width = depth.shape[-2:]
        inside = (fine >= 0).all(-1) & (fine[..., 0] < width) & (fine[..., 1] < height) & (away > 0)
        x, y = np.clip(fine[..., 0], 0, width - 1), np.clip(fine[..., 1], 0, height - 1)
        seen = depth[np.arange(len(points))[:, None], 0, y, x]
        # A landmark on the silhouette may round to a pixel beside the head, where nothing hides it.
        visible = inside & ((seen == 0) | (away < seen + HIDDEN_BEHIND))
        return Keypoints(
            torch.from_numpy(points.astype(np.float32)), torch.from_numpy(visible.astype(np.float32)), camera
        )

    def _recorded_headset(self, frames: _Frames) -> Views:
        size = self.reader.found.headset
        pairs = [
            self.reader.headset(segment, camera, number) for segment, number in frames.names for camera in HEADSET_NAMES
        ]
        images = _stack([picture for picture, _ in pairs], (1, *size)).reshape(-1, 3, 1, *size)
        mask = _stack([mask for _, mask in pairs], size).reshape(-1, 3, *size)
        camera = _camera(
            frames.recorded("headset.camera.intrinsics", (3, 3, 3)),
            frames.recorded("headset.camera.extrinsics", (3, 3, 4)),
            size,
        )
        return Views(_unit(images), camera, _unit(mask))

    def _virtual(self, frames: _Frames) -> tuple[Views, Record]:
        """Headset pictures of virtual cameras, and what was sampled for them."""
        options, size = self.reader.config.headset, self.reader.found.headset
        intrinsics, fitted = headset_cameras(size, self._anchors)
        # By name, not by position: a frame looks the same whichever frames are skipped before it.
        generators = [
            np.random.default_rng([options.seed, zlib.crc32(segment.encode()), number])
            for segment, number in frames.names
        ]
        if not generators:
            slip = np.zeros((0, 3, 4))
        else:
            slip = draw_slip(generators, options.slip).astype(np.float32).astype(np.float64)
        extrinsics = compose(fitted, slip)
        textures = self._textures_for(frames, positions(extrinsics))
        intrinsics = np.broadcast_to(intrinsics, (len(slip), 3, 3, 3))
        pictures, mask = self._draw_grey(frames.vertices, textures, intrinsics, extrinsics, size)
        lit, light = light_pictures(
            pictures[:, :, None],
            mask,
            generators,
            gain=options.gain,
            offset=options.offset,
            gradient=options.gradient,
            background=options.background,
            noise=options.noise,
        )
        views = Views(_quantised(lit), _camera(intrinsics, extrinsics, size), _quantised(mask))
        sampled = named_record("sampled", ("slip", "light"))
        return views, sampled(_tensor(slip), _tensor(light))

    @functools.cached_property
    def _anchors(self) -> Anchors:
        options, estimated = self.reader.config.headset, estimate_anchors(self._mean)
        named = {name: getattr(options, name) for name in ("right_eye", "left_eye", "mouth")}
        return Anchors(
            **{name: np.array(point) if point else getattr(estimated, name) for name, point in named.items()}
        )

    def _textures_for(self, frames: _Frames, eyes: np.ndarray) -> np.ndarray:
        """(B, 3, T, T) grey: the multi-view texture as the headset's cameras at `eyes` (B, 3, 3) see it."""
        size = self.reader.found.texture
        blended = np.empty((len(frames.names), 3, size, size), np.float32)
        places = positions(self._extrinsics(frames))
        for row, (segment, number) in enumerate(frames.names):
            decoded: dict[int, np.ndarray] = {}
            average = self.reader.texture(segment, AVERAGE, number).astype(np.float32) / 255
            for view, eye in enumerate(eyes[row]):
                chosen, weights = view_weights(eye, places[row], self.reader.config.headset.views)
                for camera in chosen.tolist():
                    path = self.reader.folder.texture(segment, self.cameras[camera], number)
                    if camera not in decoded and path.is_file():
                        texture = self.reader.texture(segment, self.cameras[camera], number)
                        decoded[camera] = texture.astype(np.float32) / 255
                there = [index for index, camera in enumerate(chosen.tolist()) if camera in decoded]
                colour = average
                if there:
                    colour = blend(np.stack([decoded[int(chosen[i])] for i in there]), weights[there], average)
                blended[row, view] = np.tensordot(np.array(LUMINANCE, np.float32), colour, axes=1)
        return blended

    def _draw_grey(
        self,
        vertices: np.ndarray,
        textures: np.ndarray,
        intrinsics: np.ndarray,
        extrinsics: np.ndarray,
        size: tuple[int, int],
    ) -> tuple[np.ndarray, np.ndarray]:
        pictures = np.empty((*extrinsics.shape[:2], *size), np.float32)
        mask = np.empty_like(pictures)
        for view in range(extrinsics.shape[1]):
            one = slice(view, view + 1)
            pictures[:, one], mask[:, one] = self._draw(
                vertices, textures[:, one], intrinsics[:, one], extrinsics[:, one], size, grey=True
            )
        return pictures, mask

    def _draw(
        self,
        vertices: np.ndarray,
        textures: np.ndarray | None,
        intrinsics: np.ndarray,
        extrinsics: np.ndarray,
        size: tuple[int, int],
        grey: bool = False,
    ) -> tuple[np.ndarray, np.ndarray]:
        """Draw each frame's mesh into N views, supersampled.

        Returns:
            Coverage (B, N, h, w), box-filtered, and depth (B, N, s·h, s·w); with `grey`, the box-filtered pictures
            (B, N, h, w) of textures (B, 1, T, T), and coverage.
        """
        factor = self.reader.config.supersampling
        batch, count = extrinsics.shape[:2]
        height, width = (side * factor for side in size)
        first: list[np.ndarray] = []
        second: list[np.ndarray] = []
        fine = enlarge(intrinsics, factor)
        at_once = max(1, VIEWS_AT_ONCE // max(count, 1))
        for start in range(0, batch, at_once):
            rows = slice(start, start + at_once)
            camera = _camera(fine[rows], extrinsics[rows], (height, width)).flatten()
            meshes = repeat(torch.from_numpy(vertices[rows]), "b v xyz -> (b n) v xyz", n=count)
            texture = torch.zeros(1, 1, 2, 2) if textures is None else _tensor(textures[rows])
            with self._drawing, torch.inference_mode():
                drawn = self.renderer(meshes, texture, self.topology, camera)
                coverage = _reduce(drawn.coverage.numpy(), factor)
                first.append(_reduce(drawn.image[:, 0].numpy(), factor) if grey else coverage)
                second.append(coverage if grey else drawn.depth.numpy())
        tall = size if grey else (height, width)
        return (
            _stack(first, size, joined=True).reshape(batch, count, *size),
            _stack(second, tall, joined=True).reshape(batch, count, *tall),
        )


class _Frames:
    """Some frames, their meshes and poses read on first use."""

    def __init__(self, names: list[tuple[str, int]], reader: FrameReader):
        self.names = names
        self._reader = reader

    @functools.cached_property
    def vertices(self) -> np.ndarray:
        vertices = [self._reader.vertices(segment, number) for segment, number in self.names]
        return _stack(vertices, (self._reader.found.vertices, 3), np.float32)

    @functools.cached_property
    def poses(self) -> np.ndarray:
        return _stack([self._reader.pose(segment, number) for segment, number in self.names], (3, 4), np.float64)

    def recorded(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        values = []
        for segment, number in self.names:
            told = self._reader.recorded(segment, number)
            if name not in told or told[name].shape != shape:
                path = self._reader.folder.truth(segment)
                raise CaptureError(f"{path} has no '{name}' of frame {number:06d}", "Write the capture again.")
            values.append(told[name])
        return _stack(values, shape, np.float32)

    def recorded_or_none(self, name: str) -> np.ndarray | None:
        told = [self._reader.recorded(segment, number) for segment, number in self.names]
        return np.stack([values[name] for values in told]) if told and all(name in values for values in told) else None


def _stack(
    arrays: list[np.ndarray], shape: tuple[int, ...], dtype: type = np.uint8, joined: bool = False
) -> np.ndarray:
    """Arrays along a new axis (or, if joined, along their first), which may be empty."""
    if not arrays:
        return np.zeros((0, *shape), np.float32 if joined else dtype)
    return np.concatenate(arrays) if joined else np.stack(arrays)


def _camera(intrinsics: np.ndarray, extrinsics: np.ndarray, size: tuple[int, int]) -> Camera:
    return Camera(_tensor(intrinsics), _tensor(extrinsics), *size)


def _tensor(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))


def _unit(values: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(values).to(torch.float32).div_(255)


def _quantised(values: np.ndarray) -> torch.Tensor:
    """[0, 1] → the nearest of 256 levels, so that frames are the same whether packed or not."""
    return _unit(to_bytes(255 * values))


def _reduce(pictures: np.ndarray, factor: int) -> np.ndarray:
    """Box-filter (…, factor·H, factor·W) → (…, H, W)."""
    # Sums of strided views are several times as fast as a mean over two axes.
    columns = sum(pictures[..., offset::factor] for offset in range(factor))
    return sum(columns[..., offset::factor, :] for offset in range(factor)) / factor**2
