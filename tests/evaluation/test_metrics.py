"""The shipped metrics: PSNR and SSIM against scikit-image, masks, errors of vertices and of keypoints."""

from __future__ import annotations

import math

import pytest
import torch
from lipflow_metrics.image_quality import psnr, ssim, wholly_shown
from pydantic import TypeAdapter
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from lipflow_core.errors import CompatibilityError
from lipflow_core.interfaces import State
from lipflow_core.parts import MetricSlot
from lipflow_core.planning import plan
from lipflow_core.records import FaceState, Frame
from lipflow_core.registry import default_registry
from lipflow_core.specs import load_spec
from lipflow_core.testing import inputs
from lipflow_core.testing.world import spherical


def pictures(height=37, width=29, channels=3):
    """Two pictures that resemble each other, (2, C, H, W) each, in float64."""
    target = inputs.uniform(1, 2, channels, height, width, dtype=torch.float64)
    target = torch.nn.functional.avg_pool2d(target, 5, stride=1, padding=2)
    noise = 0.1 * inputs.normal(2, 2, channels, height, width, dtype=torch.float64)
    return (target + noise).clamp(0, 1), target


def skimage_ssim(image, target, **options):
    return structural_similarity(
        target.numpy(),
        image.numpy(),
        data_range=1.0,
        channel_axis=0,
        gaussian_weights=True,
        sigma=1.5,
        use_sample_covariance=False,
        **options,
    )


def test_psnr_equals_scikit_images():
    image, target = pictures()
    expected = [
        peak_signal_noise_ratio(t.numpy(), i.numpy(), data_range=1.0) for i, t in zip(image, target, strict=True)
    ]
    torch.testing.assert_close(psnr(image, target), torch.tensor(expected, dtype=torch.float64))


@pytest.mark.parametrize(("height", "width", "channels"), [(37, 29, 3), (11, 11, 1), (64, 48, 3)])
def test_ssim_equals_scikit_images(height, width, channels):
    image, target = pictures(height, width, channels)
    expected = [skimage_ssim(i, t) for i, t in zip(image, target, strict=True)]
    torch.testing.assert_close(ssim(image, target), torch.tensor(expected, dtype=torch.float64))


def test_a_mask_averages_the_ssim_map_and_blanks_nothing():
    image, target = pictures()
    mask = torch.zeros(2, 37, 29, dtype=torch.float64)
    mask[:, 8:30, 6:20] = 1.0
    for row in range(2):
        _, full = skimage_ssim(image[row], target[row], full=True)
        expected = full.mean(axis=0)[8:30, 6:20].mean()
        assert math.isclose(float(ssim(image, target, mask)[row]), expected, rel_tol=1e-9)


def test_a_mask_of_ones_changes_nothing():
    image, target = pictures()
    ones = torch.ones(2, 37, 29, dtype=torch.float64)
    torch.testing.assert_close(ssim(image, target, ones), ssim(image, target))
    torch.testing.assert_close(psnr(image, target, ones), psnr(image, target))


def test_pixels_outside_the_mask_do_not_count_in_psnr():
    image, target = pictures()
    mask = torch.zeros(2, 37, 29, dtype=torch.float64)
    mask[:, 10:20, 10:20] = 1.0
    spoilt = torch.where(mask[:, None] > 0, image, 0.0)
    torch.testing.assert_close(psnr(spoilt, target, mask), psnr(image, target, mask))
    torch.testing.assert_close(psnr(image, target, mask), psnr(image[..., 10:20, 10:20], target[..., 10:20, 10:20]))


def test_a_soft_mask_weighs_pixels():
    image = torch.tensor([[[[0.1, 0.3]]]])
    error = (0.25 * 0.01 + 1.0 * 0.09) / 1.25
    weighed = psnr(image, torch.zeros_like(image), torch.tensor([[[0.25, 1.0]]]))
    assert math.isclose(float(weighed), -10 * math.log10(error), rel_tol=1e-5)


def test_equal_pictures_have_infinite_psnr_and_ssim_one():
    image, _ = pictures()
    assert psnr(image, image).isinf().all()
    torch.testing.assert_close(ssim(image, image), torch.ones(2, dtype=torch.float64))


def test_pictures_smaller_than_the_window_are_refused():
    image = torch.zeros(1, 3, 10, 20)
    with pytest.raises(ValueError, match="11×11 pixels, got 10×20"):
        ssim(image, image)


def metric(name):
    part = TypeAdapter(MetricSlot).validate_python(name)
    registry = default_registry()
    return part.build(spherical(registry).given(part, registry))


def test_vertex_errors_in_standard_units_and_millimetres():
    template = inputs.template()
    target = template.vertices_mean.expand(2, -1, -1)
    tracked = Frame(("A", "A"), torch.arange(2), {"face": FaceState(target)})
    face = FaceState(target + torch.tensor([2.0, 3.0, 6.0]))
    state = State(code=torch.zeros(2, inputs.CODE), template=template, face=face)
    torch.testing.assert_close(metric("millimetres")(state, tracked), torch.full((2,), 7.0))
    expected = 49.0 / 3 / float(template.vertices_scale) ** 2
    torch.testing.assert_close(metric("geom")(state, tracked), torch.full((2,), expected))


def test_the_keypoint_error_is_the_mean_over_what_is_visible():
    frame, template = inputs.frame(2), inputs.template()
    keypoints = frame["keypoints"]
    vertices = template.vertices_mean.expand(2, -1, -1)
    projected, _ = keypoints.camera.project(vertices[:, template.landmarks])
    keypoints.points.copy_(projected + torch.tensor([3.0, 4.0]))
    keypoints.points[0, 0] += 100
    keypoints.visible[0, 0] = 0
    keypoints.visible[1] = 0
    cameras = {"keypoints": keypoints.camera}
    state = State(code=torch.zeros(2, inputs.CODE), template=template, face=FaceState(vertices), cameras=cameras)
    first, second = metric("keypoint-error")(state, frame).tolist()
    assert first == pytest.approx(5.0, abs=1e-3) and math.isnan(second)


@pytest.mark.parametrize("name", default_registry().names("metric"))
def test_every_metric_says_how_it_is_shown(name):
    config = metric(name).config
    assert config.heading and config.definition.endswith(".") and config.digits >= 0


def test_pictures_smaller_than_the_ssim_window_are_refused_before_anything_is_built():
    with pytest.raises(CompatibilityError, match=r"metric 'ssim' needs pictures of at least 11×11 pixels, but 'front"):
        plan(load_spec("dam", ["preset=tiny", "capture.image=[16, 8]"]))


def test_partly_masked_pixels_are_not_scored():
    assert wholly_shown(torch.tensor([0.0, 0.25, 0.996, 1.0])).tolist() == [0, 0, 0, 1]
