"""Rows are independent: what a row becomes does not depend on which others are fitted with it."""

from __future__ import annotations

import pytest
import torch
from fitted_avatars import fitting, frame_of

from lipflow_core.fitting import fit, loop

OBJECTIVES = [{"type": "photometric", "target": "dome"}, {"type": "latent-likelihood", "weight": 0.001}]


def one(frame, i):
    return frame.rows(torch.tensor([i]))


@pytest.mark.parametrize("model", ["dam", "lip_flow"])
def test_a_row_is_the_same_alone_and_among_others(model, codes, request):
    avatar = request.getfixturevalue(model)
    frame = frame_of(avatar, codes)
    options = fitting(OBJECTIVES, steps=12)
    together = fit(avatar, frame, options)
    for i in (0, 3):
        alone = fit(avatar, one(frame, i), options)
        torch.testing.assert_close(alone.codes[0], together.codes[i], rtol=0, atol=1e-9)
        for name, curve in alone.curves.items():
            torch.testing.assert_close(curve[0], together.curves[name][i], rtol=1e-9, atol=1e-12)


def test_rows_do_not_depend_on_how_many_are_at_work_together(dam, codes):
    frame = frame_of(dam, codes)
    whole = fit(dam, frame, fitting(["keypoint"], steps=60, patience=4, batch=16))
    two_by_two = fit(dam, frame, fitting(["keypoint"], steps=60, patience=4, batch=2))
    torch.testing.assert_close(whole.codes, two_by_two.codes, rtol=0, atol=1e-9)
    assert whole.steps.tolist() == two_by_two.steps.tolist()


def test_rows_stop_at_different_steps_and_the_batch_shrinks(dam, codes):
    frame = frame_of(dam, codes)
    sizes = []
    forward = dam.decoder.geometry
    dam.decoder.geometry = lambda code: sizes.append(len(code)) or forward(code)
    try:
        result = fit(dam, frame, fitting(["keypoint"], steps=150, patience=3, optimizer={"learning_rate": 0.3}))
    finally:
        del dam.decoder.geometry
    assert len(set(result.steps.tolist())) > 1
    assert sizes[0] == len(codes)
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[-1] < len(codes)
    assert len(sizes) == int(result.steps.max()) + 1


@pytest.mark.parametrize("batch", [2, 16])
def test_asking_seldom_which_rows_have_stopped_changes_nothing(batch, dam, codes, monkeypatch):
    frame = frame_of(dam, codes)
    options = fitting(["keypoint"], steps=60, patience=4, optimizer={"learning_rate": 0.3}, batch=batch)
    often = fit(dam, frame, options)
    monkeypatch.setitem(loop._PAUSES, "cpu", 8)
    seldom = fit(dam, frame, options)
    torch.testing.assert_close(seldom.as_tensors(), often.as_tensors(), rtol=0, atol=1e-9, equal_nan=True)


def test_a_row_stops_after_patience_steps_without_improvement(dam, codes):
    result = fit(
        dam, frame_of(dam, codes), fitting(["keypoint"], steps=150, patience=3, optimizer={"learning_rate": 0.3})
    )
    stopped_early = result.steps < 150
    assert stopped_early.any()
    assert (result.steps - result.best_steps)[stopped_early].tolist() == [3] * int(stopped_early.sum())
    lowest = result.curves["total"].nan_to_num(nan=torch.inf).min(dim=1)
    assert torch.equal(lowest.values, result.losses)
    assert torch.equal(lowest.indices, result.best_steps)


def test_curves_end_where_the_row_stopped(dam, codes):
    result = fit(
        dam, frame_of(dam, codes), fitting(["keypoint"], steps=150, patience=3, optimizer={"learning_rate": 0.3})
    )
    assert result.curves["total"].isfinite().sum(dim=1).tolist() == (result.steps + 1).tolist()


def test_no_frames_give_no_rows(dam, codes):
    frame = frame_of(dam, codes).rows(torch.zeros(0, dtype=torch.int64))
    result = fit(dam, frame, fitting(["keypoint"], steps=3))
    assert result.codes.shape == (0, codes.shape[1])


def test_the_avatar_is_left_as_it_was(dam, codes):
    dam.decoder.train()
    before = {name: tensor.clone() for name, tensor in dam.state_dict().items()}
    try:
        fit(dam, frame_of(dam, codes), fitting(["keypoint"], steps=3))
        assert dam.decoder.training
        assert not dam.encoder.training
    finally:
        dam.eval()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in dam.parameters())
    assert all(torch.equal(before[name], tensor) for name, tensor in dam.state_dict().items())
