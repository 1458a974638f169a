"""Reading the files of single frames as losses see them: sized, straightened, in colour."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from einops import rearrange
from lipflow_kit.cameras import shrink_intrinsics
from lipflow_kit.eight_bit import round_to_bytes
from lipflow_kit.lenses import largest_distortion, undistort
from lipflow_kit.png_files import read_picture
from lipflow_kit.resampling import shrink

from lipflow_core.errors import CaptureError
from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.layout import AVERAGE, CaptureFolder
from lipflow_multiface.small_files import read_arrays
from lipflow_multiface.survey import NEGLIGIBLE, Survey
from lipflow_multiface.tracked_mesh import read_transform, read_vertices

SEGMENTS_KEPT = 8


@dataclass(frozen=True)
class Rig:
    """The dome's cameras at the size at which pictures are read.

    Args:
        intrinsics: (C, 3, 3) pixels, float64.
        extrinsics: (C, 3, 4) world → camera, float64.
        bent: (C,) whether lens distortion is removed.
    """

    intrinsics: np.ndarray
    extrinsics: np.ndarray
    bent: np.ndarray


class FrameReader:
    """Reads the files of single frames.

    Args:
        config: The capture's options.
        found: The survey of its files.
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
        self._segment_arrays = functools.lru_cache(maxsize=SEGMENTS_KEPT)(self._read_arrays)

    def vertices(self, segment: str, number: int) -> np.ndarray:
        """Read the vertices (V, 3), float32 millimetres, head frame."""
        return read_vertices(self.folder.vertices(segment, number), self.found.vertices)

    def pose(self, segment: str, number: int) -> np.ndarray:
        """Read the head pose (3, 4), head → world."""
        return read_transform(self.folder.transform(segment, number))

    def picture(self, segment: str, camera: int, number: int) -> np.ndarray:
        """Read the picture (3, h, w) uint8 of a camera in use: straightened, in colour, at the size read."""
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
        """Read the texture (3, T, T) uint8, row 0 at v = 1, of a camera's name or "average"."""
        path = self.folder.texture(segment, camera, number)
        return self.finish_texture(read_picture(path), "*" if camera == AVERAGE else camera)

    def finish_texture(self, texture: np.ndarray, camera: str) -> np.ndarray:
        """Bring a decoded texture (H, W, 3) into its final form: (3, T, T) uint8, row 0 at v = 1."""
        if self.config.texture_rows == "bottom-up":
            texture = texture[::-1]
        return self._finish(texture, (self.found.texture, self.found.texture), camera)

    def headset(self, segment: str, camera: str, number: int) -> tuple[np.ndarray, np.ndarray]:
        """Read a recorded headset picture (1, h, w) and its mask (h, w), uint8."""
        read = []
        for place in (self.folder.headset, self.folder.headset_mask):
            path = place(segment, camera, number)
            picture = read_picture(path, channels=1)
            if picture.shape[:2] != self.found.headset:
                height, width = self.found.headset
                raise CaptureError(
                    f"{path} has {picture.shape[0]}×{picture.shape[1]} pixels; other headset pictures have "
                    f"{height}×{width}"
                )
            read.append(picture[..., 0])
        return read[0][None], read[1]

    def arrays(self, segment: str, number: int) -> dict[str, np.ndarray]:
        """Read the arrays that lie beside the capture, of one frame; empty if there are none."""
        arrays, rows = self._segment_arrays(segment)
        if number not in rows:
            return {}
        return {name: array[rows[number]] for name, array in arrays.items()}

    def _read_arrays(self, segment: str) -> tuple[dict[str, np.ndarray], dict[int, int]]:
        path = self.folder.arrays(segment)
        if not path.is_file():
            return {}, {}
        numbers, arrays = read_arrays(path)
        return arrays, {number: row for row, number in enumerate(numbers.tolist())}

    def _finish(self, picture: np.ndarray, size: tuple[int, int], camera: str) -> np.ndarray:
        colour = self.config.colour
        gain = colour.gain_of(camera)
        plain = gain == (1.0, 1.0, 1.0) and colour.gamma == 1
        if plain and picture.shape[:2] == size and picture.dtype == np.uint8:
            return rearrange(picture, "h w c -> c h w")
        picture = shrink(picture, size)
        if not plain:
            lit = np.clip(picture * (np.asarray(gain, np.float32) / 255), 0, 1)
            picture = (lit if colour.gamma == 1 else lit ** np.float32(1 / colour.gamma)) * 255
        return rearrange(round_to_bytes(picture), "h w c -> c h w")


class RequestedFrames:
    """The frames of one request, whose meshes and poses are read on first use.

    Args:
        names: (segment, number) of each.
        reader: Reads them.
    """

    def __init__(self, names: list[tuple[str, int]], reader: FrameReader):
        self.names = names
        self._reader = reader

    def __len__(self) -> int:
        return len(self.names)

    @functools.cached_property
    def vertices(self) -> np.ndarray:
        """(B, V, 3) float32 millimetres, head frame."""
        return stack([self._reader.vertices(*name) for name in self.names], (self._reader.found.vertices, 3), "f4")

    @functools.cached_property
    def poses(self) -> np.ndarray:
        """(B, 3, 4) float64, head → world."""
        return stack([self._reader.pose(*name) for name in self.names], (3, 4), "f8")

    def recorded(self, name: str, shape: tuple[int, ...]) -> np.ndarray:
        """Stack an array (B, *shape) that lies beside the capture.

        Raises:
            CaptureError: If a frame has no such array.
        """
        values = []
        for segment, number in self.names:
            array = self._reader.arrays(segment, number).get(name)
            if array is None or array.shape != shape:
                path = self._reader.folder.arrays(segment)
                raise CaptureError(
                    f"{path} has no array '{name}' of shape {shape} for frame {number:06d}", "Write the capture again."
                )
            values.append(array)
        return stack(values, shape, "f4")

    def has(self, name: str, shape: tuple[int, ...]) -> bool:
        """Tell whether every frame has an array of this shape beside the capture."""
        return all(
            (array := self._reader.arrays(*frame).get(name)) is not None and array.shape == shape
            for frame in self.names
        )


def stack(arrays: list[np.ndarray], shape: tuple[int, ...], dtype: str = "u1") -> np.ndarray:
    """Stack arrays of one shape; `shape` and `dtype` are used where there are none."""
    return np.stack(arrays) if arrays else np.zeros((0, *shape), dtype)
