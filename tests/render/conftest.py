"""Scenes that every renderer is asked to draw."""

from __future__ import annotations

import math

import pytest
import torch
from render_scenes import RENDERERS, make


@pytest.fixture(params=RENDERERS)
def renderer(request):
    return make(request.param)


@pytest.fixture
def oracle():
    return make("torch")


@pytest.fixture
def threads():
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.fixture
def turn():
    """Rotation matrices by Euler angles in radians."""

    def rotation(x: float, y: float, z: float, dtype=torch.float64) -> torch.Tensor:
        (a, b), (c, d), (e, f) = ((math.cos(angle), math.sin(angle)) for angle in (x, y, z))
        about_x = torch.tensor([[1, 0, 0], [0, a, -b], [0, b, a]], dtype=dtype)
        about_y = torch.tensor([[c, 0, d], [0, 1, 0], [-d, 0, c]], dtype=dtype)
        about_z = torch.tensor([[e, -f, 0], [f, e, 0], [0, 0, 1]], dtype=dtype)
        return about_z @ about_y @ about_x

    return rotation
