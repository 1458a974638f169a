"""Reading all of a capture, as training and evaluation would, for tests of damaged ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from lipflow_multiface.capture import MultifaceCapture
from lipflow_multiface.config import MultifaceConfig

from lipflow_core.interfaces import FrameRequest
from lipflow_core.plans import CaptureInputs


def read_everything(folder: Path) -> int:
    """Read the template and every frame, check them against the plan, and give the number of frames.

    Raises:
        lipflow_core.errors.CaptureError: If the capture is damaged.
        lipflow_core.plans.Mismatch: If its options do not fit.
    """
    config = MultifaceConfig(path=folder, cache=folder.parent / "packed-elsewhere")
    capture = MultifaceCapture(config, CaptureInputs())
    template = capture.template()
    for name, tensor in (("vertices", template.vertices_mean), ("texture", template.texture_mean)):
        assert torch.isfinite(tensor).all(), name
    assert template.vertices_scale > 0 and template.texture_scale > 0
    count = 0
    for name in ("train", "held-out"):
        split = capture.split(name)
        indices = np.arange(len(split))
        cameras = np.tile(np.arange(len(split.cameras)), (len(split), 1))
        frame = split.load(FrameRequest(indices, split.observations, cameras))
        for planned, shape in capture.planned.outputs.items():
            owner, tensor = planned.split(".", 1)
            if owner not in ("topology", "template"):
                values = getattr(frame[owner], tensor)
                assert tuple(values.shape) == (len(frame), *shape), planned
                assert torch.isfinite(values.float()).all(), planned
        for observation in frame.observations.values():
            if (camera := getattr(observation, "camera", None)) is not None:
                assert torch.isfinite(camera.extrinsics).all() and torch.isfinite(camera.intrinsics).all()
                assert camera.extrinsics.dtype == torch.float32
        count += len(frame)
    return count
