"""The paper's tasks by options of the spec: decoding alone, masked pictures, displaced cameras, and jitter."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import lipflow_core
from lipflow_core.cli import main
from lipflow_core.errors import CompatibilityError, SpecError, UsageError
from lipflow_core.evaluation.frames import frames_to_score
from lipflow_core.interfaces import Split, State
from lipflow_core.parts import MetricSlot
from lipflow_core.records import FaceState, Frame
from lipflow_core.scoring import build_metrics, neighbouring, score
from lipflow_core.splits import load_frames, open_capture

DECODE = ["evaluation.codes=[posterior, start]"]
MASKED = ["fitting.objectives=[{type: photometric, target: frontal, region: [eyes, mouth]}]", "fitting.steps=2"]


def metric_of(avatar, name):
    from pydantic import TypeAdapter

    return build_metrics(avatar, [TypeAdapter(MetricSlot).validate_python(name)])


# Decoding alone.


def test_q_and_p_can_be_scored_without_fitting(trained, tmp_path):
    whole = lipflow_core.evaluate(trained.values(), count=3, overrides=["fitting.steps=1"])
    alone = lipflow_core.evaluate(trained.values(), count=3, overrides=DECODE, out=tmp_path)
    for both, decoded in zip(whole.models, alone.models, strict=True):
        assert list(decoded.scores) == ["posterior", "start"]
        for code, columns in decoded.scores.items():
            for metric, values in columns.items():
                assert values == pytest.approx(both.scores[code][metric], rel=1e-4), (code, metric)
        assert not decoded.steps and not decoded.distance and not decoded.grid
    assert "after fitting" not in alone.table() and "before fitting" in alone.table()
    stored = load_file(tmp_path / "lip-flow-hmc" / "fits.safetensors")
    assert set(stored) == {"posterior.codes", "start.codes"}


def test_decoding_alone_loads_no_target_of_fitting(trained, monkeypatch):
    from lipflow_dome.capture import DomeSplit

    asked, observe = set(), DomeSplit.observe

    def noting(self, name, *rest):
        asked.add(name)
        return observe(self, name, *rest)

    monkeypatch.setattr(DomeSplit, "observe", noting)
    lipflow_core.evaluate(trained["dam"], count=1, overrides=DECODE)
    assert asked == {"face", "frontal"}


def test_decoding_alone_searches_no_grid_and_has_a_report(trained, tmp_path):
    lipflow_core.evaluate(trained["dam"], count=1, overrides=[*DECODE, "fitting.grid={}"], out=tmp_path)
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "report.html")]) == 0


def test_a_fit_without_likelihood_can_be_named_beside_the_others(trained):
    codes = "evaluation.codes=[start, fitted, fitted-without-likelihood]"
    named = lipflow_core.evaluate(trained["dam"], count=2, overrides=[codes, "fitting.steps=2"]).models[0]
    assert list(named.scores) == ["start", "fitted", "fitted-without-likelihood"]


# Masked pictures.


def test_a_masked_frontal_picture_is_fitted_and_shown(trained, tmp_path):
    evaluation = lipflow_core.evaluate(trained["dam"], count=2, overrides=MASKED, out=tmp_path)
    assert all(map(math.isfinite, evaluation.models[0].scores["fitted"]["psnr"]))
    pictures = {path.name for path in (tmp_path / "dam" / "pictures").iterdir()}
    assert any(name.endswith(".seen-frontal.png") for name in pictures)
    assert evaluation.models[0].unseen == {"fitted": 0}


def test_hidden_pixels_change_no_fit(trained):
    avatar, spec = lipflow_core.open_model(trained["dam"], overrides=MASKED)
    opened = lipflow_core.open_model(trained["dam"], overrides=MASKED)
    split = open_capture(opened.blueprint).split("held-out")
    frame = load_frames(split, np.arange(3), ("face", "frontal"))
    first = lipflow_core.fit(avatar, frame, spec.fitting)
    weights = torch.maximum(*avatar.template.regions.values())
    views = frame["frontal"]
    points, _ = views.camera.flatten().project(frame["face"].vertices)
    pixels = points.round().long()
    shown = torch.zeros_like(views.mask[:, 0], dtype=torch.bool)
    for row in range(len(frame)):
        x, y = pixels[row][weights > 0].clamp(0, views.mask.shape[-1] - 1).unbind(1)
        for dx in range(-3, 4):
            for dy in range(-3, 4):
                shown[row, (y + dy).clamp(0, 31), (x + dx).clamp(0, 31)] = True
    assert 0.02 < shown.float().mean() < 0.7
    views.images[:, 0][(~shown)[:, None].expand_as(views.images[:, 0])] = 0.5
    assert torch.equal(lipflow_core.fit(avatar, frame, spec.fitting).codes, first.codes)


def test_the_fit_command_writes_the_masked_target_too(trained, tmp_path):
    assert main(["fit", str(trained["dam"]), "--frames", "0:2", "--pictures", "--out", str(tmp_path), *MASKED]) == 0
    assert len(list((tmp_path / "pictures").iterdir())) == 2


def test_a_capture_without_the_region_fails_when_it_is_planned(capsys):
    words = ["fitting.objectives=[{type: photometric, target: frontal, region: [eyes, nose]}]"]
    assert main(["assemble", "dam", "--check", "preset=tiny", *words]) == 4
    told = capsys.readouterr().err
    assert "restricted to the region 'nose'" in told and "its regions: 'eyes', 'mouth'" in told


def test_training_refuses_regions():
    objectives = "training.stages.0.objectives=[{type: photometric, region: [eyes]}]"
    with pytest.raises(CompatibilityError, match="which is for fitting"):
        lipflow_core.assemble(lipflow_core.load_spec("dam", ["preset=tiny", objectives]))


# Displaced cameras.

DISPLACED = [
    "fitting.perturbation={degrees: 3, millimetres: 4}",
    "evaluation.metrics=[millimetres, pose-degrees, pose-millimetres]",
    "fitting.steps=3",
]


def test_the_error_of_the_pose_is_scored_before_and_after_fitting(trained):
    model = lipflow_core.evaluate(trained["lip-flow-hmc"], overrides=[*DISPLACED, "fitting.pose={}"]).models[0]
    assert model.scores["start"]["pose-degrees"] == pytest.approx([3] * 4, rel=1e-4)
    assert model.scores["start"]["pose-millimetres"] == pytest.approx([4] * 4, rel=1e-4)
    assert all(0 < value != pytest.approx(3) for value in model.scores["fitted"]["pose-degrees"])
    assert all(math.isnan(value) for value in model.scores["posterior"]["pose-degrees"])
    assert not [note for note in model.notes() if "Rotation" in note]


def test_cameras_stay_displaced_where_no_pose_is_fitted(trained, tmp_path, capsys):
    model = lipflow_core.evaluate(trained["dam"], overrides=DISPLACED).models[0]
    for code in ("start", "fitted"):
        assert model.scores[code]["pose-millimetres"] == pytest.approx([4] * 4, rel=1e-4)
    arguments = ["fit", str(trained["dam"]), "--frames", "0:2", "--out", str(tmp_path), "--json", *DISPLACED]
    assert main(arguments) == 0
    for frame in json.loads(capsys.readouterr().out)["frames"]:
        assert (frame["pose_degrees"], frame["pose_millimetres"]) == pytest.approx((3, 4), rel=1e-4)


def test_without_displaced_cameras_fit_json_has_no_pose_error(trained, tmp_path, capsys):
    arguments = ["fit", str(trained["dam"]), "--frames", "0", "--out", str(tmp_path), "--json", "fitting.steps=1"]
    assert main(arguments) == 0
    assert json.loads(capsys.readouterr().out)["frames"][0]["pose_degrees"] is None


# Jitter.


def test_jitter_is_the_mean_second_difference(trained):
    avatar, _ = lipflow_core.open_model(trained["dam"])
    count = len(avatar.template.vertices_mean)
    before, now, after = torch.zeros(3, count, 3)
    before[:, 0], now[:, 1], after[0, 2] = 3.0, 1.0, count
    jitter = metric_of(avatar, "jitter")["jitter"]
    state = State(
        code=torch.zeros(1, 8),
        template=avatar.template,
        face=FaceState(now[None]),
        neighbours=torch.stack([before, after])[None],
    )
    value = jitter(state, Frame(("a",), torch.tensor([1]), {}))
    # Each vertex: (3, −2, 0); the first one (3, −2, count).
    expected = (math.sqrt(13) * (count - 1) + math.sqrt(13 + count**2)) / count
    assert float(value) == pytest.approx(expected, rel=1e-5)


def test_jitter_crosses_neither_segments_nor_gaps():
    codes = torch.arange(6.0)[:, None]
    found = neighbouring(codes, ["a", "a", "a", "b", "b", "a"], [0, 1, 2, 3, 4, 4])[..., 0]
    missing = torch.nan
    expected = [[missing, 1], [0, 2], [1, missing], [missing, 4], [3, missing], [missing, missing]]
    torch.testing.assert_close(found, torch.tensor(expected), equal_nan=True)


def test_jitter_of_whole_segments_is_scored_for_each_code(trained):
    options = ["evaluation.metrics=[millimetres, jitter]", "fitting.steps=2", "fitting.batch=1"]
    evaluation = lipflow_core.evaluate(trained["dam"], frames="0:100", overrides=options)
    model = evaluation.models[0]
    assert list(model.metrics) == ["millimetres", "jitter"]
    assert (model.metrics["jitter"].unit, model.metrics["jitter"].higher_is_better) == ("mm", False)
    # Two segments of three frames: only the middle one of each has both neighbours.
    for code in ("posterior", "start", "fitted"):
        values = model.scores[code]["jitter"]
        assert [math.isfinite(value) for value in values] == [False, True, False] * 2, code
    avatar, _ = lipflow_core.open_model(trained["dam"])
    opened = lipflow_core.open_model(trained["dam"])
    frame = load_frames(open_capture(opened.blueprint).split("held-out"), np.arange(3), ("face",))
    with torch.no_grad():
        first, middle, last = avatar.geometry(avatar.encode(frame).mean)
    by_hand = float((first - 2 * middle + last).norm(dim=1).mean())
    assert model.scores["posterior"]["jitter"][1] == pytest.approx(by_hand, rel=1e-3)
    assert any("left out of Jitter" in note for note in model.notes())


def test_runs_are_fitted_whole_and_scored_in_order(trained):
    options = ["evaluation.metrics=[millimetres]", "fitting.steps=4", "fitting.temporal=random-walk"]
    small, large = (
        lipflow_core.evaluate(trained["dam"], frames="3,0,2,1,5,4", overrides=[*options, f"fitting.batch={batch}"])
        for batch in (1, 16)
    )
    one, other = small.models[0], large.models[0]
    assert one.frames == other.frames
    for code in ("posterior", "start", "fitted"):
        assert one.scores[code]["millimetres"] == pytest.approx(other.scores[code]["millimetres"], rel=1e-4)
    alone = lipflow_core.evaluate(trained["dam"], frames="3,0,2,1,5,4", overrides=options[:2]).models[0]
    assert alone.scores["posterior"]["millimetres"] == pytest.approx(other.scores["posterior"]["millimetres"])
    assert alone.scores["fitted"]["millimetres"] != pytest.approx(other.scores["fitted"]["millimetres"], rel=1e-4)


def test_a_temporal_prior_without_frames_that_follow_each_other_is_refused(trained):
    options = ["fitting.steps=1", "fitting.temporal=random-walk"]
    with pytest.raises(SpecError, match=r"none of the 2 frames to score does") as caught:
        lipflow_core.evaluate(trained["dam"], frames="0,2", overrides=options)
    assert "evaluation.whole_segments=true" in caught.value.hint


def test_a_metric_of_sequences_gives_nan_where_neighbours_are_unknown(trained):
    avatar, _ = lipflow_core.open_model(trained["dam"])
    frame = Frame(("a", "a"), torch.tensor([0, 1]), {})
    scores, found = score(avatar, torch.zeros(2, 8), frame, metric_of(avatar, "jitter"))
    assert scores["jitter"].isnan().all() and not found


# Visible pixels only.


def test_pictures_are_fitted_and_scored_by_visible_pixels_only(trained):
    options = ["fitting.objectives=[{type: photometric, target: headset, exposure: affine}]", "fitting.steps=3"]
    opened = lipflow_core.open_model(trained["dam"], overrides=options)
    avatar, spec = opened
    split = open_capture(opened.blueprint).split("held-out")
    frame = load_frames(split, np.arange(4), ("face", "frontal", "headset"))
    metrics = metric_of(avatar, "psnr")
    first = lipflow_core.fit(avatar, frame, spec.fitting).codes
    before, _ = score(avatar, first, frame, metrics)
    for name, dark in (("frontal", frame["frontal"].mask < 1), ("headset", frame["headset"].mask == 0)):
        assert dark.any()
        images = frame[name].images
        images[dark[:, :, None].expand_as(images)] = 0.9
    second = lipflow_core.fit(avatar, frame, spec.fitting).codes
    after, _ = score(avatar, first, frame, metrics)
    assert torch.equal(first, second)
    assert torch.equal(before["psnr"], after["psnr"])


# Where a grid is tried.

GRID = ["fitting.objectives=[keypoint]", "fitting.steps=2", "evaluation.metrics=[millimetres]"]


def choice_on(trained, which, frames="0:2"):
    grid = f"fitting.grid={{learning_rate: [0.01, 0.1], frames: 3, choose_on: {which}}}"
    return lipflow_core.evaluate(trained["dam"], frames=frames, overrides=[*GRID, grid]).models[0].grid["fitted"]


def score_at(trained, split, positions, rate):
    """Mean score of a learning rate on some frames."""
    opened = lipflow_core.open_model(trained["dam"], overrides=[*GRID, f"fitting.optimizer.learning_rate={rate}"])
    frame = load_frames(open_capture(opened.blueprint).split(split), np.array(positions), ("face", "keypoints"))
    codes = lipflow_core.fit(opened.avatar, frame, opened.spec.fitting).codes
    scores, _ = score(opened.avatar, codes, frame, metric_of(opened.avatar, "millimetres"))
    return float(scores["millimetres"].mean())


@pytest.mark.parametrize(
    ("which", "split", "positions", "told"),
    [
        ("scored", "held-out", [0, 1], "tried on 2 frames"),
        ("training", "train", [0, 12, 23], "tried on 3 training frames"),
        ("apart", "held-out", [3, 4, 5], "tried on 3 frames that are not scored"),
    ],
)
def test_the_grid_is_tried_on_the_frames_that_are_asked_for(which, split, positions, told, trained):
    choice = choice_on(trained, which)
    assert choice.chosen_on == which and choice.frames == len(positions)
    assert choice.describe().endswith(f"; {told})")
    for point in choice.points:
        assert point.score == pytest.approx(score_at(trained, split, positions, point.learning_rate), rel=1e-3)


def test_without_frames_apart_a_grid_says_so(trained):
    with pytest.raises(UsageError, match="all 6 frames of the split are fitted or scored"):
        choice_on(trained, "apart", frames="0:6")


def test_the_fit_command_chooses_on_training_frames(trained, tmp_path, capsys):
    grid = "fitting.grid={learning_rate: [0.01, 0.1], frames: 2, choose_on: training}"
    arguments = ["fit", str(trained["dam"]), "--frames", "0", "--out", str(tmp_path), "--quiet", *GRID, grid]
    assert main(arguments) == 0
    assert "tried on 2 training frames" in capsys.readouterr().out


# Whole segments.


class Takes(Split):
    """Frames of segments of some lengths."""

    def __init__(self, *lengths):
        self.segments = [name for name, length in zip("abcdefg", lengths, strict=False) for _ in range(length)]
        self.numbers = np.concatenate([np.arange(length) for length in lengths])
        self.cameras = ()

    def load(self, request):
        raise NotImplementedError


@pytest.mark.parametrize(
    ("lengths", "count", "chosen"),
    [
        ((3, 3, 3), 9, "abc"),
        ((3, 3, 3), 8, "ac"),
        ((3, 3, 3), 5, "a"),
        ((2, 3, 4), 6, "ac"),
    ],
)
def test_whole_segments_are_scored_as_many_as_fit(lengths, count, chosen):
    split = Takes(*lengths)
    positions = frames_to_score(split, count, whole_segments=True)
    assert positions.tolist() == [i for i, segment in enumerate(split.segments) if segment in chosen]


def test_of_a_segment_that_is_too_long_the_first_frames_are_scored():
    assert frames_to_score(Takes(100, 100), 7, whole_segments=True).tolist() == list(range(7))


def test_jitter_is_scored_on_fewer_frames_by_whole_segments(trained):
    options = ["evaluation.metrics=[jitter]", "evaluation.whole_segments=true", *DECODE]
    model = lipflow_core.evaluate(trained["dam"], count=4, overrides=options).models[0]
    assert len(model.frames) == 3 and math.isfinite(model.mean("posterior", "jitter"))


@pytest.mark.parametrize("codes", ["[fitted-without-likelihood]", "[start, fitted, fitted-without-likelihood]"])
def test_codes_that_there_are_not_are_refused(codes, trained):
    words = ["fitting.objectives=[keypoint]", f"evaluation.codes={codes}"]
    with pytest.raises(SpecError, match="names fitted-without-likelihood, but fitting has no objectives that ask"):
        lipflow_core.evaluate(trained["dam"], count=1, overrides=words)


def test_a_fit_without_likelihood_that_can_not_be_made_is_told(trained):
    words = ["fitting.objectives=[keypoint]", "fitting.steps=1"]
    model = lipflow_core.evaluate(trained["dam"], count=1, overrides=words, without_likelihood=True).models[0]
    assert "fitted-without-likelihood" not in model.scores
    assert "dam: no fit without likelihood, since fitting has no objectives that ask the prior" in model.notes()[0]
