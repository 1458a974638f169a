"""PNG files: checking, decoding and encoding. Imports no torch."""

from __future__ import annotations

import os
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, UnidentifiedImageError

from lipflow_core.errors import CaptureError
from lipflow_core.png import END, SIGNATURE, encode_png
from lipflow_kit.picture_sizes import LARGEST_PICTURE

_HEAD_BYTES = 25  # the signature, then length, name and the first nine bytes of the chunk IHDR


@dataclass(frozen=True)
class PictureHeader:
    """Holds size and depth of a PNG file, from its header.

    Args:
        size: Height and width in pixels.
        bits: Number of bits of one channel of one pixel: 8 in most files.
    """

    size: tuple[int, int]
    bits: int


def read_header(path: Path) -> PictureHeader:
    """Read a PNG file's header without decoding any pixel.

    Raises:
        CaptureError: If the file can't be read, is no PNG, or claims no pixels or too many.
    """
    try:
        with _open(path) as file:
            return _header(path, file)
    except OSError as error:
        raise _unreadable(path, error) from error


def read_picture(path: Path, channels: int = 3) -> np.ndarray:
    """Decode a PNG file.

    Pictures of 16 bits a channel are brought to 8 bits: 65535 becomes 255. Alpha is dropped.

    Args:
        path: The file.
        channels: 3 for colour, 1 for grey; the file's own channels are converted.

    Returns:
        (H, W, channels) uint8.

    Raises:
        CaptureError: If it is missing, truncated, too large or no PNG picture.
    """
    try:
        with _open(path) as file:
            _header(path, file)
            file.seek(0)
            with Image.open(file, formats=("PNG",)) as picture:
                if picture.mode in ("I", "I;16", "I;16B"):
                    # Pillow would clip these at 255: everything but the darkest pixels would be white.
                    grey = np.asarray(picture).astype(np.float32)
                    decoded = np.rint(grey / 257).astype(np.uint8)[..., None]
                    return np.repeat(decoded, channels, axis=-1)
                decoded = np.asarray(picture.convert("RGB" if channels == 3 else "L"))
    except FileNotFoundError as error:
        raise _unreadable(path, error) from error
    except UnidentifiedImageError as error:
        raise CaptureError(f"{path} is no PNG picture") from error
    except (OSError, SyntaxError, ValueError, zlib.error, struct.error, Image.DecompressionBombError) as error:
        raise CaptureError(f"{path} can't be decoded: {error}") from error
    return decoded.reshape(*decoded.shape[:2], channels)


def picture_is_whole(path: Path) -> bool:
    """Tell without decoding whether a PNG file ends as PNG files do; one of an interrupted download does not.

    Raises:
        CaptureError: If the file can't be read.
    """
    try:
        with _open(path) as file:
            file.seek(0, os.SEEK_END)
            if file.tell() < len(END):
                return False
            file.seek(-len(END), os.SEEK_END)
            return file.read() == END
    except OSError as error:
        raise _unreadable(path, error) from error


def write_picture(path: Path, values: np.ndarray) -> None:
    """Write a PNG file in place, without a temporary name: a caller who writes many marks when all are there.

    Args:
        path: The file; its folder must exist.
        values: (H, W, 3), (H, W, 1) or (H, W) uint8.
    """
    path.write_bytes(encode_png(values))


def _open(path: Path) -> BinaryIO:
    # Without waiting: a pipe without a writer is then an empty file, and no PNG.
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | getattr(os, "O_NONBLOCK", 0)))


def _header(path: Path, file: BinaryIO) -> PictureHeader:
    head = file.read(_HEAD_BYTES)
    if len(head) < _HEAD_BYTES or head[:8] != SIGNATURE or head[12:16] != b"IHDR":
        raise CaptureError(f"{path} is no PNG picture")
    width, height, bits = struct.unpack(">IIB", head[16:25])
    if not (width and height):
        raise CaptureError(f"{path} has no pixels")
    if width * height > LARGEST_PICTURE:
        raise CaptureError(f"{path} claims {height}×{width} pixels; at most {LARGEST_PICTURE:,} are read")
    return PictureHeader((height, width), bits)


def _unreadable(path: Path, error: OSError) -> CaptureError:
    if isinstance(error, FileNotFoundError):
        return CaptureError(f"{path} is missing")
    return CaptureError(f"{path} can't be read: {error.strerror or error}")
