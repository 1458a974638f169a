"""Headset pictures filmed virtually: the tracked mesh with its multi-view texture, from three sampled cameras."""

from __future__ import annotations

import functools
import zlib

import numpy as np
import torch
from lipflow_kit.cameras import compose, positions
from lipflow_kit.headset import Anchors, draw_slip, estimate_anchors, headset_cameras, light_pictures
from lipflow_kit.packing import named_record
from lipflow_kit.pictures import to_bytes
from lipflow_kit.texels import blend, view_weights

from lipflow_core.records import LUMINANCE, Record, Views
from lipflow_multiface.drawing import Drawing, as_camera, as_tensor
from lipflow_multiface.layout import AVERAGE
from lipflow_multiface.reading import FrameReader, Frames

GREY = np.array(LUMINANCE, np.float32)


class VirtualHeadset:
    """Three cameras fitted to the subject's mean face.

    Args:
        reader: Reads textures.
        drawing: Draws the mesh.
        mean: (V, 3) the subject's mean mesh.
    """

    def __init__(self, reader: FrameReader, drawing: Drawing, mean: np.ndarray):
        self.reader = reader
        self.drawing = drawing
        self._mean = mean

    @functools.cached_property
    def anchors(self) -> Anchors:
        """Eyes and mouth, as the options say or as estimated."""
        options, estimated = self.reader.config.headset, estimate_anchors(self._mean)
        named = {name: getattr(options, name) for name in ("right_eye", "left_eye", "mouth")}
        return Anchors(
            **{name: np.array(point) if point else getattr(estimated, name) for name, point in named.items()}
        )

    def film(self, frames: Frames) -> tuple[Views, Record]:
        """Pictures of some frames, and what was sampled for them: slip (B, 3, 4) and `Light`."""
        options, size = self.reader.config.headset, self.reader.found.headset
        intrinsics, fitted = headset_cameras(size, self.anchors)
        # By name, not by position: a frame looks the same whichever frames are skipped before it.
        generators = [
            np.random.default_rng([options.seed, zlib.crc32(segment.encode()), number])
            for segment, number in frames.names
        ]
        slip = draw_slip(generators, options.slip) if generators else np.zeros((0, 3, 4))
        extrinsics = compose(fitted, slip.astype(np.float32).astype(np.float64))
        intrinsics = np.broadcast_to(intrinsics, (len(slip), 3, 3, 3))
        textures = self._textures(frames, positions(extrinsics))
        drawn = self.drawing.draw(frames.vertices, intrinsics, extrinsics, size, textures)
        lit, told = light_pictures(
            drawn.image[:, :, None],
            drawn.coverage,
            generators,
            gain=options.gain,
            offset=options.offset,
            gradient=options.gradient,
            background=options.background,
            noise=options.noise,
        )
        views = Views(quantised(lit), as_camera(intrinsics, extrinsics, size), quantised(drawn.coverage))
        sampled = {"slip": slip, "light": told.light, "background": told.background, "noise": told.noise}
        return views, named_record("sampled", tuple(sampled))(*map(as_tensor, sampled.values()))

    def _textures(self, frames: Frames, eyes: np.ndarray) -> np.ndarray:
        """(B, 3, T, T) grey: the multi-view texture as the headset's cameras at `eyes` (B, 3, 3) see it."""
        reader = self.reader
        size, names = reader.found.texture, [camera.name for camera in reader.found.cameras]
        blended = np.empty((len(frames.names), 3, size, size), np.float32)
        places = positions(compose(reader.rig.extrinsics, frames.poses))
        for row, (segment, number) in enumerate(frames.names):
            decoded: dict[int, np.ndarray] = {}
            average = reader.texture(segment, AVERAGE, number).astype(np.float32) / 255
            for view, eye in enumerate(eyes[row]):
                chosen, weights = view_weights(eye, places[row], reader.config.headset.views)
                for camera in chosen.tolist():
                    if camera not in decoded and reader.folder.texture(segment, names[camera], number).is_file():
                        decoded[camera] = reader.texture(segment, names[camera], number).astype(np.float32) / 255
                there = [index for index, camera in enumerate(chosen.tolist()) if camera in decoded]
                colour = average
                if there:
                    colour = blend(np.stack([decoded[int(chosen[i])] for i in there]), weights[there], average)
                blended[row, view] = np.tensordot(GREY, colour, axes=1)
        return blended


def quantised(values: np.ndarray) -> torch.Tensor:
    """[0, 1] → the nearest of 256 levels, so that frames are the same whether packed or not."""
    return unit(to_bytes(255 * values))


def unit(values: np.ndarray) -> torch.Tensor:
    """Bytes → [0, 1]."""
    return torch.from_numpy(values).to(torch.float32).div_(255)
