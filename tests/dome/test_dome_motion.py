"""What the subject does: rich, feasible, repeatable."""

from __future__ import annotations

import numpy as np
import pytest
from lipflow_dome.config import DomeConfig
from lipflow_dome.expressions import PEAKS
from lipflow_dome.filming import Performance
from lipflow_dome.head import Head, gaze_rotation, load_asset, subject_identities


@pytest.fixture(scope="module")
def head():
    return Head(subject_identities()["p01_caucasian_male"])


@pytest.fixture(scope="module")
def small():
    config = DomeConfig(**DomeConfig.presets["small"])
    return Performance(config, "train")


def test_expression_space_is_rich(head, small):
    """At `small`, 40 or more principal components hold 99 % of the vertices' variance."""
    performed = small.of(np.arange(0, len(small), 4))
    vertices = head.deform(performed["expression"].astype(float), performed["gaze"].astype(float))
    centered = (vertices - vertices.mean(0)).reshape(len(vertices), -1)
    variance = np.linalg.eigvalsh(centered @ centered.T)[::-1]
    assert (np.cumsum(variance) / variance.sum() < 0.99).sum() + 1 >= 40


def test_every_kind_of_segment_is_there(small):
    segments = set(small.segments)
    assert len(segments) == small.sequences
    kinds = {segment.rsplit("_", 1)[0] for segment in segments}
    assert {"EXP_neutral", "EXP_mix", "EXP_gaze", "SEN"} <= kinds
    assert len(kinds & {f"EXP_{name}" for name in PEAKS}) >= 20


def test_peaks_have_onset_apex_and_release(small):
    names = load_asset().expression_names
    first = small.segments.index("EXP_smile_0001")
    smile = small.of(np.arange(first, first + small.length))["expression"][:, names.index("mouthSmileLeft")]
    assert smile.argmax() not in (0, small.length - 1)
    assert smile.max() > 3 * max(smile[0], smile[-1]) and smile.max() > 0.3


def test_faces_are_asymmetric(small):
    names = load_asset().expression_names
    weights = small.of(np.arange(0, len(small), 5))["expression"]
    left, right = (weights[:, names.index(f"mouthSmile{side}")] for side in ("Left", "Right"))
    assert np.corrcoef(left, right)[0, 1] < 0.95


def test_lids_close_at_most_once(small):
    names = load_asset().expression_names
    weights = small.of(np.arange(0, len(small), 5))["expression"]
    closing = weights[:, names.index("eyeBlinkLeft")] + weights[:, names.index("mh_eye-left-closure")]
    assert closing.max() > 0.9 and closing.max() <= 1


def test_weights_are_finite_and_bounded(small):
    weights = small.of(np.arange(0, len(small), 3))["expression"]
    assert np.isfinite(weights).all() and weights.min() >= 0 and weights.max() <= 1.1


def test_gaze_moves_eyes_only(head):
    weights, gaze = np.zeros((2, 86)), np.zeros((2, 2, 2))
    gaze[1] = (0.3, -0.2)
    straight, aside = head.deform(weights, gaze)
    moved = np.flatnonzero(np.abs(straight - aside).max(1) > 1e-4)
    eyes = np.concatenate(head.eye_vertices)
    assert len(moved) > 0.9 * len(eyes)
    assert np.isin(moved, eyes).all()


def test_gaze_turns_eyes_by_yaw_to_the_left_and_pitch_upwards():
    x, y, z = gaze_rotation(np.array([0.3, 0.2]))[:, 2]
    assert np.arctan2(x, z) == pytest.approx(0.3)
    assert np.arcsin(y) == pytest.approx(0.2)


def test_eyes_turn_rigidly_about_their_centres(head):
    gaze = np.array([[[0.3, 0.2], [0.0, 0.0]]])
    left = head.eye_vertices[0]
    turned = head.deform(np.zeros((1, 86)), gaze)[0, left] - head.eye_centers[0]
    expected = (head.neutral[left] - head.eye_centers[0]) @ gaze_rotation(gaze[0, 0]).T
    assert np.allclose(turned, expected, atol=1e-4)


def test_no_skin_dips_into_an_eyeball_that_was_clear_of_it(head, small):
    performed = small.of(np.arange(0, len(small), 25))
    vertices = head.deform(performed["expression"].astype(float), performed["gaze"].astype(float))
    for eye in range(2):
        skin, closest = head._lids[eye]
        distance = np.linalg.norm(vertices[:, skin] - head.eye_centers[eye], axis=-1)
        assert (distance > closest - 1e-3).all()
