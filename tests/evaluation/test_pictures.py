"""Pictures are written without a library for them, and read back as they were."""

from __future__ import annotations

import ast
import io
from pathlib import Path

import numpy as np
import pytest
import torch
from lipflow_sample.sampling import sheet
from PIL import Image

import lipflow_core
from lipflow_core.pictures import png, strip
from lipflow_core.png import encode_png


def decoded(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.mode, np.asarray(image)


@pytest.mark.parametrize(("channels", "mode"), [(3, "RGB"), (1, "L")])
@pytest.mark.parametrize("size", [(1, 1), (1, 7), (33, 20)])
def test_a_picture_is_read_back_as_it_was(channels, mode, size):
    values = np.random.default_rng(0).integers(0, 256, (*size, channels), dtype=np.uint8)
    found, pixels = decoded(encode_png(values))
    assert found == mode
    assert np.array_equal(pixels.reshape(values.shape), values)


def test_levels_are_rounded_and_clamped():
    _, pixels = decoded(png(torch.tensor([[[-1.0, 0.0, 0.5, 1.0, 2.0]]])))
    assert pixels.tolist() == [[0, 0, 128, 255, 255]]


def test_strips_and_sheets_have_their_pictures_in_order():
    pictures = torch.stack([torch.full((3, 2, 2), level) for level in (0.0, 0.25, 0.5)])
    assert strip(pictures)[0, 0].tolist() == [0.0, 0.0, 0.25, 0.25, 0.5, 0.5]
    laid = sheet(pictures, columns=2, gap=1)
    assert laid.shape == (3, 7, 7)
    assert (laid[0, 1, 1], laid[0, 1, 4], laid[0, 4, 1], laid[0, 4, 4]) == (0.0, 0.25, 0.5, 1.0)


def test_no_file_of_the_core_imports_what_is_for_plugins():
    root = Path(lipflow_core.__file__).parent
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and node.module else []
            found = {name.partition(".")[0] for name in names} & {"PIL", "numba", "altair", "jinja2", "vl_convert"}
            assert not found, f"{path} imports {found}"
