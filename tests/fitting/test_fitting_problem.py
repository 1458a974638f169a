"""What a problem makes for its objectives: pictures of one size are drawn at once."""

from __future__ import annotations

import torch
from fitted_avatars import fitting, frame_of

from lipflow_core.avatar import frozen
from lipflow_core.fitting.fit import build_objectives
from lipflow_core.fitting.problem import Problem

VIEWS = ("dome", "headset", "frontal")


def losses(avatar, frame, codes, names):
    options = fitting([{"type": "photometric", "target": name} for name in names])
    with frozen(avatar), torch.no_grad():
        return Problem.of(avatar, frame, build_objectives(avatar, frame, options.objectives)).losses(codes)


def test_pictures_of_one_size_are_drawn_together_and_are_the_same(dam, codes):
    frame = frame_of(dam, codes)
    drawn = []
    hook = dam.renderer.register_forward_hook(lambda renderer, given, rendering: drawn.append(len(rendering.image)))
    try:
        together = losses(dam, frame, codes + 0.1, VIEWS)
    finally:
        hook.remove()
    assert drawn == [len(codes) * 3, len(codes) * 3]
    apart = torch.cat([losses(dam, frame, codes + 0.1, [name]) for name in VIEWS], dim=1)
    torch.testing.assert_close(together, apart)
