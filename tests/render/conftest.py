"""Scenes that every renderer is asked to draw."""

from __future__ import annotations

import math

import pytest
import torch
from lipflow_render.adapters.packages import DRTK
from render_scenes import RENDERERS, make

DIFFERENCES = {
    "torch": {
        "test_any_number_of_threads_gives_the_same_bits": "torch's own kernels promise no order of summation",
    },
    "drtk": {
        "test_agrees_with_the_oracle": "its gradients of boundaries are others; tests/render/test_adapters.py",
        "test_silhouette_gradient_is_that_of_the_covered_area": "to 8 % only: it moves pixels, not the edge",
        "test_occlusion_gradient_is_that_of_many_shifted_pictures": "to 15 % only: it moves pixels, not the edge",
        "test_recovers_a_pose": "to 0.052 px, not to 0.05",
        "test_closed_mesh_has_no_holes": "it leaves out triangles that reach behind the camera",
        "test_cuts_at_the_near_plane": "it leaves out triangles that cross the near plane",
    },
    "warp-cuda": {"test_draws_in_a_forked_worker": "CUDA does not survive a fork"},
}
"""Where a renderer's own definition differs from ours: renderer → test → how. docs/renderers.md tells them."""


@pytest.fixture(params=RENDERERS)
def renderer(request):
    if request.param.startswith("warp"):
        pytest.importorskip("warp", reason="renderer 'warp' needs warp-lang: pip install 'warp-lang>=1.19'")
    if request.param == "drtk" and not DRTK.is_installed():
        pytest.skip("DRTK is not installed")
    if difference := DIFFERENCES.get(request.param, {}).get(request.function.__name__):
        pytest.skip(difference)
    if request.param.endswith("-cuda"):
        torch.use_deterministic_algorithms(True)
        request.addfinalizer(lambda: torch.use_deterministic_algorithms(False))
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
