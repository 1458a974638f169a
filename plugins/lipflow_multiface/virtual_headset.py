"""Headset pictures filmed virtually: the tracked mesh with its multi-view texture, from three sampled cameras."""

from __future__ import annotations

import functools
import zlib

import numpy as np
from lipflow_kit.cameras import compose, positions
from lipflow_kit.eight_bit import quantise
from lipflow_kit.headset import Anchors, chosen_anchors, draw_slip, headset_cameras, light_pictures
from lipflow_kit.packing import named_record
from lipflow_kit.texels import blend, view_weights

from lipflow_core.records import LUMINANCE, Record, Views
from lipflow_multiface.frame_files import FrameReader, RequestedFrames
from lipflow_multiface.layout import AVERAGE
from lipflow_multiface.mesh_drawing import MeshDrawer, as_camera, as_tensor

GREY = np.array(LUMINANCE, np.float32)


class VirtualHeadset:
    """Three cameras fitted to the subject's mean face.

    Args:
        reader: Reads textures.
        drawer: Draws the mesh.
        mean: (V, 3) the subject's mean mesh.
    """

    def __init__(self, reader: FrameReader, drawer: MeshDrawer, mean: np.ndarray):
        self.reader = reader
        self.drawer = drawer
        self._mean = mean

    @functools.cached_property
    def anchors(self) -> Anchors:
        """Eyes and mouth, as the options say or else as estimated."""
        return chosen_anchors(self._mean, **self.reader.config.headset.anchors)

    def film(self, frames: RequestedFrames) -> tuple[Views, Record]:
        """Film some frames.

        Returns:
            The pictures, and what was sampled for them: slip (B, 3, 4), and the arrays of `lipflow_kit.headset.Light`.
        """
        options, size = self.reader.config.headset, self.reader.found.headset
        intrinsics, fitted = headset_cameras(size, self.anchors)
        # By name, not by position: a frame looks the same whichever frames are skipped before it.
        generators = [
            np.random.default_rng([options.seed, zlib.crc32(segment.encode()), number])
            for segment, number in frames.names
        ]
        slip = draw_slip(generators, options.slip)
        extrinsics = compose(fitted, slip.astype(np.float32).astype(np.float64))
        intrinsics = np.broadcast_to(intrinsics, (len(slip), 3, 3, 3))
        textures = self._textures(frames, positions(extrinsics))
        drawn = self.drawer.draw(frames.vertices, intrinsics, extrinsics, size, textures)
        lit, told = light_pictures(drawn.image[:, :, None], drawn.coverage, generators, options)
        views = Views(quantise(lit), as_camera(intrinsics, extrinsics, size), quantise(drawn.coverage))
        sampled = {"slip": slip, "light": told.light, "background": told.background, "noise": told.noise}
        return views, named_record("sampled", tuple(sampled))(*map(as_tensor, sampled.values()))

    def _textures(self, frames: RequestedFrames, eyes: np.ndarray) -> np.ndarray:
        """Blend the multi-view texture, grey (B, 3, T, T), for the headset's cameras at `eyes` (B, 3, 3)."""
        reader = self.reader
        size, names = reader.found.texture, [camera.name for camera in reader.found.cameras]
        blended = np.empty((len(frames), 3, size, size), np.float32)
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
