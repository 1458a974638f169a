"""PNG files of all kinds come out as the picture that one sees, or are refused by name."""

from __future__ import annotations

import struct
import zlib

import numpy as np
import pytest
from lipflow_kit.lenses import undistort
from lipflow_kit.picture_sizes import LARGEST_PICTURE
from lipflow_kit.png_files import read_header, read_picture
from PIL import Image

from lipflow_core.errors import CaptureError
from lipflow_core.png import encode_png

RAMP = np.linspace(0, 65535, 256).reshape(8, 32).round().astype(np.uint16)


def png(path, values: np.ndarray, colour: int, bits: int = 16):
    """Write a PNG of 16 bits a channel, which Pillow writes for grey only; values: (H, W, C) uint16."""
    height, width = values.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    head = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"".join(parts))
    return path


@pytest.mark.parametrize(
    ("colour", "channels"), [(0, 1), (4, 2), (2, 3), (6, 4)], ids=["grey", "grey+a", "rgb", "rgba"]
)
@pytest.mark.parametrize("wanted", [1, 3])
def test_16_bits_a_channel_are_scaled_to_8(tmp_path, colour, channels, wanted):
    path = png(tmp_path / "deep.png", np.repeat(RAMP[..., None], channels, -1), colour)
    read = read_picture(path, wanted)
    assert read.dtype == np.uint8 and read.shape == (8, 32, wanted)
    assert np.abs(read.astype(int) - (RAMP / 257).round().astype(int)[..., None]).max() <= 1
    assert read_header(path).bits == 16


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_8_bit_pictures_of_every_kind_are_read(tmp_path, mode):
    picture = Image.fromarray((RAMP // 257).astype(np.uint8)).convert(mode)
    picture.save(tmp_path / "picture.png")
    expected = np.asarray(picture.convert("RGB"))
    assert np.array_equal(read_picture(tmp_path / "picture.png"), expected)


def test_a_picture_of_another_kind_is_refused_by_name(tmp_path):
    path = tmp_path / "photo.png"
    Image.new("RGB", (8, 8)).save(path, "JPEG")
    with pytest.raises(CaptureError, match=r"photo\.png is no PNG picture"):
        read_picture(path)


@pytest.mark.parametrize(("size", "reason"), [((1 << 16, 1 << 15), "at most"), ((0, 8), "no pixels")])
def test_a_header_that_claims_absurd_sizes_is_refused_before_decoding(tmp_path, size, reason):
    path = png(tmp_path / "large.png", np.zeros((1, 1, 3), np.uint16), 2)
    content = bytearray(path.read_bytes())
    content[16:24] = struct.pack(">II", *size)
    path.write_bytes(content)
    with pytest.raises(CaptureError, match=rf"large\.png .*{reason}"):
        read_picture(path)
    assert size[0] * size[1] > LARGEST_PICTURE or reason == "no pixels"


@pytest.mark.parametrize("shape", [(5, 7, 3), (5, 7, 1), (5, 7)])
def test_encoded_pictures_are_decoded_by_others(tmp_path, shape):
    values = np.random.default_rng(0).integers(0, 256, shape).astype(np.uint8)
    (tmp_path / "picture.png").write_bytes(encode_png(values))
    with Image.open(tmp_path / "picture.png") as picture:
        assert np.array_equal(np.asarray(picture).reshape(values.shape), values)


def test_straightening_in_bands_of_rows_changes_nothing():
    picture = np.random.default_rng(0).integers(0, 256, (40, 32, 3)).astype(np.uint8)
    intrinsics = np.array([[40.0, 0, 15.5], [0, 40.0, 19.5], [0, 0, 1]])
    lens = np.array([0.4, 0.05, 0.01, -0.008, 0.0])
    whole = undistort(picture, intrinsics, lens)
    assert np.array_equal(undistort(picture, intrinsics, lens, at_once=3 * 32), whole)
