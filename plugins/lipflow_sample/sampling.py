"""Drawing samples from a model's prior."""

from __future__ import annotations

import math
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import save
from torch import Tensor

from lipflow_core import Avatar, open_model
from lipflow_core.errors import SpecError, UsageError
from lipflow_core.observing import draw, not_finite
from lipflow_core.pictures import png
from lipflow_core.records import Camera, Frame, Record
from lipflow_core.results import Result
from lipflow_core.selection import positions
from lipflow_core.splits import load_frames, open_capture, open_split
from lipflow_core.storage import check_folder, write_together

LARGEST_SEED = 2**63
"""Seeds lie below it, as those of specs do."""
LARGEST_COUNT = 10_000
"""Most samples of one call, whose pictures are held in memory and fill one contact sheet."""
_TOGETHER = 16


@dataclass(frozen=True)
class Samples(Record):
    """N samples of a prior.

    Args:
        codes: (N, D).
        pictures: (N, 3, H, W) in [0, 1].
    """

    codes: Tensor
    pictures: Tensor


class SampleSummary(Result):
    """What `samples.json` says."""

    name: str
    """The spec's name."""
    count: int
    """Number of samples."""
    seed: int
    """Seed of the codes."""
    prior: str
    """The prior that was sampled, and the frame that drove it."""
    codes: str
    """File of the codes."""
    picture: str
    """File of the contact sheet."""


def sample(avatar: Avatar, count: int, camera: Camera, *, driving: Frame | None = None, seed: int = 0) -> Samples:
    """Draw codes from the prior that fitting uses, and decode and render them.

    Args:
        avatar: The assembled model, in evaluation mode.
        count: Number of codes.
        camera: One camera, leading axes (1, 1), head frame → camera.
        driving: One frame with the driving observation, whose prior is sampled; needed if the prior is conditional,
            of no effect otherwise.
        seed: Seed of the codes.

    Raises:
        lipflow_core.errors.SpecError: If the prior is conditional and there is no driving frame.
        lipflow_core.errors.CaptureError: If the driving frame is not as its records promise.
        lipflow_core.errors.NumericalError: If a sample holds NaN or infinity, naming the part that made it.

    Example:
        >>> camera = frame[avatar.roles.scored_view].camera.rows(torch.tensor([0]))
        >>> samples = sample(avatar, 16, camera, driving=frame.rows(torch.tensor([0])))
    """
    prior = avatar.fitting_prior
    conditional = "driving" in prior.planned.needs
    if conditional and driving is not None:
        driving.check()
    if conditional and driving is None:
        raise SpecError(
            f"the prior of this model can only be sampled given a driving frame ('{avatar.driving.modality}')",
            hint="pass one of the capture's frames as driving=",
        )
    generator = torch.Generator(avatar.device).manual_seed(seed)
    camera = avatar.bring(camera)
    with torch.no_grad():
        encoding = avatar.drive(avatar.bring(driving)) if conditional else None
        if encoding is not None and not all(tensor.isfinite().all() for _, tensor in encoding.tensors()):
            raise not_finite(f"the driving encoding of segment {driving.segments[0]}, frame {int(driving.numbers[0])}")
        codes = prior.condition(encoding).sample(count, generator)[:, 0]
        pictures = []
        for start, batch in zip(range(0, count, _TOGETHER), codes.split(_TOGETHER), strict=True):
            cameras = camera.rows(torch.zeros(len(batch), dtype=torch.int64, device=avatar.device))
            drawn, found = draw(avatar, batch, cameras)
            if found:
                raise not_finite(f"the {found[min(found)]} of sample {start + min(found)}")
            pictures.append(drawn[:, 0])
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
) -> SampleSummary:
    """Sample a trained model's prior; write the codes and a contact sheet of what they look like.

    Args:
        model: Model directory to sample.
        out: Folder for `codes.safetensors`, `samples.png` and `samples.json`.
        count: Number of codes.
        seed: Seed of the codes.
        frame: The frame that drives a conditional prior, and whose camera looks at the samples: a position in the split
            or "SEGMENT/NUMBER".
        split: Split of that frame.
        overrides: Changes to the model's spec, such as "renderer=NAME".

    Returns:
        The content of `samples.json`.

    Raises:
        lipflow_core.errors.UsageError: If the count or the seed is out of range.
        lipflow_core.errors.CaptureError: If there is no such frame, or it is damaged.
        lipflow_core.errors.NumericalError: If the model makes NaN or infinity, naming the part.
        lipflow_core.errors.StorageError: If `out` can't be written; then it is as it was.
    """
    if count < 1:
        raise UsageError(f"{count} samples can't be drawn: at least one sample is needed")
    if count > LARGEST_COUNT:
        raise UsageError(
            f"{count} samples are too many: their pictures are held in memory", f"Draw at most {LARGEST_COUNT:,}."
        )
    if not 0 <= seed < LARGEST_SEED:
        raise UsageError(f"the seed {seed} is out of range", "Give a seed from 0 to 2⁶³ − 1.")
    check_folder(out)
    opened = open_model(model, overrides=overrides)
    avatar, spec, view = opened.avatar, opened.spec, opened.blueprint.view
    source = open_split(open_capture(opened.blueprint), split)
    index = positions(source.segments, source.numbers, frame)[:1]
    conditional = "driving" in avatar.fitting_prior.planned.needs
    observations = (view, *([avatar.driving.modality] if conditional else []))
    seen = load_frames(source, index, observations)
    camera = seen[view].camera.apply(lambda tensor: tensor[:, :1])
    samples = sample(avatar, count, camera, driving=seen if conditional else None, seed=seed)
    folder = Path(out)
    driven = f", given {seen.segments[0]}/{int(seen.numbers[0]):06d}" if conditional else ""
    summary = SampleSummary(
        name=spec.name,
        count=count,
        seed=seed,
        prior=f"{(spec.fitting.prior or spec.prior).name}{driven}",
        codes=str(folder / "codes.safetensors"),
        picture=str(folder / "samples.png"),
    )
    sheet_of_all = sheet(samples.pictures, columns=math.ceil(math.sqrt(count)))
    contents = {
        "codes.safetensors": save({"codes": samples.codes.cpu().contiguous()}),
        "samples.png": png(sheet_of_all),
        "samples.json": summary.json_text().encode(),
    }
    write_together(folder, contents)
    return summary


def sheet(pictures: Tensor, columns: int, gap: int = 2) -> Tensor:
    """Lay out a contact sheet, row by row on white.

    Args:
        pictures: (N, C, H, W).
        columns: Pictures in a row.
        gap: Pixels between pictures and around the sheet.

    Returns:
        (C, ...) one picture.
    """
    count, channels, height, width = pictures.shape
    rows = -(-count // columns)
    canvas = pictures.new_ones(channels, rows * (height + gap) + gap, columns * (width + gap) + gap)
    for i, picture in enumerate(pictures):
        top, left = gap + (i // columns) * (height + gap), gap + (i % columns) * (width + gap)
        canvas[:, top : top + height, left : left + width] = picture
    return canvas
