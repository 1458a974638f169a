"""Draws faces from a model's prior."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

from lipflow_core.avatar import Avatar, frozen
from lipflow_core.errors import SpecError
from lipflow_core.model_directory import open_model
from lipflow_core.pictures import png, sheet
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Camera, Frame, Record
from lipflow_core.splits import load_frames, open_split, select
from lipflow_core.storage import check_folder, write_together

_TOGETHER = 16


@dataclass(frozen=True)
class Samples(Record):
    """N faces drawn from a prior.

    Args:
        codes: (N, D).
        pictures: (N, 3, H, W) in [0, 1].
    """

    codes: Tensor
    pictures: Tensor


def sample(avatar: Avatar, count: int, camera: Camera, *, driving: Frame | None = None, seed: int = 0) -> Samples:
    """Draw codes from the prior that fitting uses, and decode and render them.

    Args:
        avatar: Assembled model.
        count: Number of codes.
        camera: One camera with leading axes (1, 1), head frame → camera.
        driving: One frame with the driving observation. A conditional prior needs it; other priors ignore it.
        seed: Seed of the random codes.

    Raises:
        lipflow_core.errors.SpecError: If the prior is conditional and `driving` is None.

    Example:
        >>> camera = frame[avatar.roles.scored_view].camera.rows(torch.tensor([0]))
        >>> samples = sample(avatar, 16, camera, driving=frame.rows(torch.tensor([0])))
    """
    prior = avatar.fitting_prior
    conditional = "driving" in prior.planned.needs
    if conditional and driving is None:
        raise SpecError(
            f"the prior of this model can only be sampled given a driving frame ('{avatar.driving.modality}')",
            hint="pass one of the capture's frames as driving=",
        )
    generator = torch.Generator(avatar.device).manual_seed(seed)
    camera = camera.to(avatar.device)
    with frozen(avatar), torch.no_grad():
        encoding = avatar.drive(driving.to(avatar.device)) if conditional else None
        codes = prior.condition(encoding).sample(count, generator)[:, 0]
        pictures = []
        for batch in codes.split(_TOGETHER):
            cameras = camera.rows(torch.zeros(len(batch), dtype=torch.int64, device=avatar.device))
            pictures.append(avatar.render(avatar.decode(batch, cameras), cameras).image.clamp(0, 1))
    return Samples(codes, torch.cat(pictures))


def sample_model(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    count: int = 16,
    seed: int = 0,
    frame: str = "0",
    split: str = "held-out",
    overrides: Sequence[str] = (),
) -> dict[str, Any]:
    """Sample a trained model's prior, and write the codes and a contact sheet of their pictures.

    Args:
        model: Model directory to sample.
        out: Folder for `codes.safetensors`, `samples.png` and `samples.json`.
        count: Number of codes.
        seed: Seed of the random codes.
        frame: Frame that drives a conditional prior and whose camera renders the samples: a position in the split, or
            "SEGMENT/NUMBER".
        split: Split that contains the frame.
        overrides: Changes to the model's spec, such as "renderer=NAME".

    Returns:
        The content of `samples.json`.

    Raises:
        lipflow_core.errors.CaptureError: If the frame is damaged, or the split has no frames.
        lipflow_core.errors.StorageError: If `out` can't be written; it is left unchanged then.
    """
    check_folder(out)
    opened = open_model(model, overrides=overrides)
    avatar, spec, view = opened.avatar, opened.spec, opened.blueprint.view
    source = open_split(spec.capture.build(CaptureInputs()), split)
    index = select(source, frame)[:1]
    conditional = "driving" in avatar.fitting_prior.planned.needs
    observations = (view, *([avatar.driving.modality] if conditional else []))
    seen = load_frames(source, index, observations)
    camera = seen[view].camera.apply(lambda tensor: tensor[:, :1])
    samples = sample(avatar, count, camera, driving=seen if conditional else None, seed=seed)
    folder = Path(out)
    driven = f", given {seen.segments[0]}/{int(seen.numbers[0]):06d}" if conditional else ""
    written = {
        "name": spec.name,
        "count": count,
        "seed": seed,
        "prior": f"{(spec.fitting.prior or spec.prior).name}{driven}",
        "codes": str(folder / "codes.safetensors"),
        "picture": str(folder / "samples.png"),
    }
    sheet_of_all = sheet(samples.pictures, columns=math.ceil(math.sqrt(count)))
    contents = {
        "codes.safetensors": save({"codes": samples.codes.cpu().contiguous()}),
        "samples.png": png(sheet_of_all),
        "samples.json": (json.dumps(written, indent=1, ensure_ascii=False) + "\n").encode(),
    }
    write_together(folder, contents)
    return written
