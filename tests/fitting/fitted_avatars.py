"""Small avatars of real parts on a spherical head, and frames that they made themselves."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from pydantic import TypeAdapter

from lipflow_core.avatar import Avatar
from lipflow_core.parts import (
    DecoderSlot,
    EncoderSlot,
    FlowSlot,
    Part,
    PriorSlot,
    RendererSlot,
)
from lipflow_core.plans import DecoderInputs, EncoderInputs, PriorInputs, RendererInputs
from lipflow_core.records import Frame, Views, luminance
from lipflow_core.registry import default_registry
from lipflow_core.specs.model import Fitting
from lipflow_core.testing import inputs
from lipflow_core.testing.world import spherical

FLOAT64 = torch.float64
CODE = inputs.CODE


def part(slot: Any, value: Any) -> Part:
    """A slot's part at preset tiny."""
    return TypeAdapter(slot).validate_python(value, context={"preset": "tiny", "registry": None})


def make_avatar(prior: str, driving: str | None = None, renderer: str = "cpu") -> Avatar:
    """An untrained avatar of shipped parts, with the spread of a trained one, in float64 and evaluation mode."""
    torch.manual_seed(0)
    world = spherical(default_registry())
    given = EncoderInputs(code=CODE, observations=world.observations, roles=world.roles)
    face, driver = part(EncoderSlot, "dam"), None if driving is None else part(EncoderSlot, driving)
    flow = part(FlowSlot, "glow") if prior == "flow" else None
    priors = PriorInputs(
        code=CODE, driving=None if driver is None else driver.plan(given), driving_name=driving, flow=flow
    )
    texture = (3, inputs.TEXTURE, inputs.TEXTURE)
    template = inputs.template()  # its texture is made so pale that decoded ones stay within [0, 1]
    avatar = Avatar(
        encoder=face.build(given),
        driving=None if driver is None else driver.build(given),
        prior=part(PriorSlot, prior).build(priors),
        decoder=part(DecoderSlot, "dam").build(DecoderInputs(code=CODE, vertices=inputs.VERTICES, texture=texture)),
        renderer=part(RendererSlot, renderer).build(
            RendererInputs(device="cpu", vertices=inputs.VERTICES, triangles=80, texture=texture)
        ),
        template=replace(template, texture_mean=0.3 + 0.4 * template.texture_mean, texture_scale=torch.tensor(0.1)),
        capture=world.capture,
    ).double()
    with torch.no_grad():
        for parameter in avatar.decoder.parameters():
            parameter.mul_(1.5)
    avatar.eval()
    if not avatar.prior.initialized:
        frame = inputs.frame(64, dtype=FLOAT64)
        with torch.no_grad():
            avatar.prior.initialize(inputs.normal(7, 64, CODE, dtype=FLOAT64), avatar.drive(frame))
    return avatar.eval()


def frame_of(avatar: Avatar, codes: torch.Tensor, pose: torch.Tensor | None = None) -> Frame:
    """Frames whose face, pictures and keypoints are what the avatar makes of codes; the headset moved by `pose`."""
    frame = inputs.frame(len(codes), dtype=FLOAT64)
    observations = dict(frame.observations)
    with torch.no_grad():
        vertices = avatar.geometry(codes)
        observations["face"] = type(frame["face"])(vertices, frame["face"].texture)
        for name in ("frontal", "headset"):
            views = frame[name]
            camera = views.camera
            if pose is not None and name == "headset":
                camera = camera.moved(pose[:, None])
            rendering = avatar.render(avatar.decode(codes, camera), camera)
            count = views.images.shape[1]
            image = rendering.image if views.images.shape[2] == 3 else luminance(rendering.image)
            observations[name] = Views(image.unflatten(0, (-1, count)), views.camera, views.mask)
        keypoints = frame["keypoints"]
        points, _ = keypoints.camera.project(vertices[:, avatar.template.landmarks])
        observations["keypoints"] = type(keypoints)(points, keypoints.visible, keypoints.camera)
    return Frame(frame.segments, frame.numbers, observations)


def fitting(objectives: list[Any], **options: Any) -> Fitting:
    """Fitting options at preset tiny."""
    data = {"objectives": objectives, "patience": 1000, **options}
    return Fitting.model_validate(data, context={"preset": "tiny", "registry": None})
