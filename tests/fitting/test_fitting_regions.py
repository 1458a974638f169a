"""Fitting sees only the pixels that show the regions of the tracked surface that an objective names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from fitted_avatars import fitting, frame_of, make_avatar

from lipflow_core.avatar import frozen
from lipflow_core.errors import SpecError
from lipflow_core.fitting import Problem, fit
from lipflow_core.fitting.fit import build_objectives, visible_pictures
from lipflow_core.records import Views

EYES = {"type": "photometric", "target": "frontal", "region": ["eyes"]}
BOTH = {"type": "photometric", "target": "frontal", "region": ["eyes", "mouth"]}


@pytest.fixture(scope="module")
def masked():
    """An avatar whose spherical head has "eyes" in its upper and a "mouth" in its lower front."""
    avatar = make_avatar("standard-normal")
    template = avatar.template
    _, y, z = (template.vertices_mean / template.vertices_mean.norm(dim=1, keepdim=True)).unbind(1)
    regions = {"eyes": ((y > 0.3) & (z > 0.2)).double(), "mouth": ((y < -0.3) & (z > 0.2)).double()}
    avatar.template = replace(template, regions=regions)
    return avatar


def problem_of(avatar, frame, *objectives):
    options = fitting(list(objectives))
    return Problem.of(avatar, frame, build_objectives(avatar, frame, options.objectives))


def mask_of(avatar, frame, objective):
    return problem_of(avatar, frame, objective).masks["photometric"][objective["target"]]


def changed(frame, name, images):
    views = frame[name]
    return replace(frame, observations={**frame.observations, name: Views(images, views.camera, views.mask)})


def test_a_region_hides_all_other_pixels_from_the_loss(masked, codes):
    frame = frame_of(masked, codes)
    hidden = mask_of(masked, frame, EYES) == 0
    assert 0.5 < hidden.double().mean() < 0.99
    spoilt = torch.where(hidden[:, :, None], 1 - frame["frontal"].images, frame["frontal"].images)
    with frozen(masked):
        losses = [problem_of(masked, f, EYES).losses(codes * 0.5) for f in (frame, changed(frame, "frontal", spoilt))]
        whole = [
            problem_of(masked, f, {"type": "photometric", "target": "frontal"}).losses(codes * 0.5)
            for f in (frame, changed(frame, "frontal", spoilt))
        ]
    assert torch.equal(*losses) and (losses[0] > 0).all()
    assert not torch.allclose(*whole)


def test_an_exposure_is_not_fitted_to_hidden_pixels(masked, codes):
    objective = {**EYES, "exposure": "affine"}
    frame = frame_of(masked, codes)
    hidden = mask_of(masked, frame, objective) == 0
    spoilt = torch.where(hidden[:, :, None], torch.ones(()).double(), frame["frontal"].images)
    fits = [fit(masked, f, fitting([objective], steps=5)) for f in (frame, changed(frame, "frontal", spoilt))]
    assert torch.equal(fits[0].codes, fits[1].codes)


def test_regions_follow_the_tracked_surface_and_the_camera(masked, codes):
    frame = frame_of(masked, codes[:1])
    weights = masked.template.regions["eyes"]
    for name in ("frontal", "headset"):
        mask = mask_of(masked, frame, {**EYES, "target": name})
        views = frame[name]
        rows = torch.arange(views.images.shape[1])
        points, _ = views.camera.flatten().project(frame["face"].vertices.expand(len(rows), -1, -1))
        pixel = points.round().long()
        inside = ((pixel >= 1) & (pixel < pixel.new_tensor([views.camera.width, views.camera.height]) - 1)).all(dim=-1)
        front = frame["face"].vertices[0, :, 2] > 0.5 * frame["face"].vertices[0, :, 2].max()
        for region, wanted in ((weights == 1, 1.0), (weights == 0, 0.0)):
            chosen = inside & (region & front)
            for view in rows.tolist():
                x, y = pixel[view][chosen[view]].unbind(1)
                seen = mask[0, view, y, x] / views.mask[0, view, y, x].clamp(min=1e-6)
                if len(seen):
                    assert (seen - wanted).abs().median() < 0.35, (name, view, wanted)


def test_several_regions_add_up(masked, codes):
    frame = frame_of(masked, codes)
    eyes, mouth = (mask_of(masked, frame, {**EYES, "region": [name]}) for name in ("eyes", "mouth"))
    assert torch.equal(mask_of(masked, frame, BOTH), torch.maximum(eyes, mouth))
    assert (eyes > 0).any() and (mouth > 0).any()


def test_regions_are_drawn_once_and_not_at_each_step(masked, codes, monkeypatch):
    frame, pictures = frame_of(masked, codes), []
    render = type(masked.renderer).render

    def counting(self, vertices, *rest):
        pictures.append(vertices.requires_grad)
        return render(self, vertices, *rest)

    monkeypatch.setattr(type(masked.renderer), "render", counting)
    fit(masked, frame, fitting([BOTH], steps=4))
    assert pictures[0] is False and len(pictures) == 1 + 5  # the regions, then five losses


def test_regions_are_the_same_by_any_renderer_and_however_many_frames_are_drawn_at_once(masked, codes, monkeypatch):
    frame, plain = frame_of(masked, codes), make_avatar("standard-normal", renderer="torch")
    plain.template = masked.template
    headset = {**EYES, "target": "headset"}
    mask = mask_of(masked, frame, headset)
    torch.testing.assert_close(mask_of(plain, frame, headset), mask, rtol=0, atol=1e-6)
    monkeypatch.setattr("lipflow_core.fitting.regions._PIXELS", 1)
    assert torch.equal(mask_of(masked, frame, headset), mask)


def test_every_objective_has_its_own_region(masked, codes):
    frame = frame_of(masked, codes)
    mouth = {**EYES, "region": ["mouth"]}
    together = problem_of(masked, frame, EYES, mouth)
    with frozen(masked):
        apart = [problem_of(masked, frame, objective).losses(codes * 0.5) for objective in (EYES, mouth)]
        assert torch.equal(together.losses(codes * 0.5), torch.cat(apart, dim=1))


def test_frames_that_show_nothing_of_the_region_are_told(masked, codes):
    frame = frame_of(masked, codes)
    seen = mask_of(masked, frame, EYES)[1] > 0
    frame["frontal"].mask[1][seen] = 0
    assert fit(masked, frame, fitting([EYES], steps=1)).unseen.tolist() == [False, True, False, False, False]


def test_what_fitting_sees_can_be_looked_at(masked, codes):
    frame = frame_of(masked, codes)
    pictures = visible_pictures(masked, frame, fitting([BOTH]))
    assert list(pictures) == ["frontal"]
    hidden = (mask_of(masked, frame, BOTH) == 0)[:, :, None].expand_as(pictures["frontal"])
    assert (pictures["frontal"][hidden] == 0).all()
    assert visible_pictures(masked, frame, fitting([BOTH, {"type": "photometric", "target": "frontal"}])) == {}
    assert visible_pictures(masked, frame, fitting(["keypoint"])) == {}


def test_a_region_that_the_template_lacks_is_named(dam, codes):
    with pytest.raises(SpecError, match="region 'eyes', which the model's template lacks; it has no regions"):
        fit(dam, frame_of(dam, codes), fitting([EYES]))


def test_without_the_tracked_surface_a_region_is_refused(masked, codes):
    frame = frame_of(masked, codes)
    poor = replace(frame, observations={"frontal": frame["frontal"]})
    with pytest.raises(SpecError, match="'face'"):
        fit(masked, poor, fitting([EYES]))
