"""Fitting a trained model to frames of its capture, batch by batch, so that a run that was killed goes on.

```
OUT/
  fit.json            frames, losses, steps, distances and mean curves; its presence means done
  codes.safetensors   every tensor of the `FittingResult`
  pictures/           what the fitted codes look like, beside their targets, if asked for
  request.json, grid.json, batches/   of a run under way
```
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lipflow_core.avatar import frozen
from lipflow_core.errors import CaptureError, ResultError, StorageError
from lipflow_core.fitting.fit import choose, first_fault, fit
from lipflow_core.fitting.result import Curve, FitSummary, FittedFrame, FittingResult, GridChoice
from lipflow_core.interfaces import Split
from lipflow_core.model_directory import OpenedModel, open_model
from lipflow_core.observing import draw, not_finite
from lipflow_core.pictures import png, strip
from lipflow_core.plans import Needs
from lipflow_core.progress import Style, progress
from lipflow_core.records import Frame
from lipflow_core.scoring import build_metrics
from lipflow_core.splits import file_stem, load_frames, open_capture, open_split, select, spread
from lipflow_core.storage import (
    check_folder,
    claimed,
    is_leftover,
    make_folder,
    remove_temporaries,
    storage_error,
    write_atomically,
)
from lipflow_core.version import __version__

RESULT = "fit.json"
CODES = "codes.safetensors"
PICTURES = "pictures"
_REQUEST, _GRID, _BATCHES = "request.json", "grid.json", "batches"


def fit_model(
    model: str | os.PathLike[str],
    out: str | os.PathLike[str],
    *,
    frames: str | None = None,
    split: str = "held-out",
    overrides: Sequence[str] = (),
    pictures: bool = False,
    style: Style = "none",
) -> FitSummary:
    """Fit frames with a trained model and write codes, losses and curves.

    Called again with the same arguments after it was ended at any instant, it goes on with the first batch that is not
    yet written; when all is done, it returns what is there. A fit that fails before its first batch is written leaves
    nothing behind.

    Args:
        model: Model directory.
        out: Folder to write, see above; empty, or of the same fit.
        frames: Which, such as "0:32" or "EXP_smile/000012,EXP_blink" (see `select`); all of the split if None.
        split: Which split.
        overrides: Of the spec, such as "fitting.steps=50".
        pictures: Write pictures of the fitted codes.
        style: How progress is shown.

    Returns:
        The content of `fit.json`.

    Raises:
        lipflow_core.errors.ModelError: If the folder holds no model.
        lipflow_core.errors.CaptureError: If there is no such frame, one is damaged, or none shows anything to fit to.
        lipflow_core.errors.NumericalError: If no frame could be fitted, naming the part of the model that gives NaN.
        lipflow_core.errors.ResultError: If the results of an earlier run in `out` are damaged.
        lipflow_core.errors.StorageError: If `out` holds something else, can't be written, or is in use.
    """
    check_folder(out)
    opened = open_model(model, overrides=overrides)
    spec, blueprint = opened.spec, opened.blueprint
    capture = open_capture(blueprint)
    source = open_split(capture, split)
    indices = np.arange(len(source)) if frames is None else select(source, frames)
    folder = Path(out)
    request = {
        "version": __version__,
        "weights": opened.lock.sha256["weights.safetensors"],
        "capture": capture.identity,
        "split": split,
        "frames": hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest(),
        "pictures": pictures,
        "spec": spec.model_dump(mode="json", include={"renderer", "fitting", "evaluation"}),
    }
    with claimed(folder, "fitting"):
        _open(folder, request)
        if (folder / RESULT).exists():
            return FitSummary.read(folder / RESULT, "Remove that file and fit again.")
        with _nothing_left_of_a_failure(folder):
            chosen = _choose(folder, opened, source, indices, style)
            observations = dict.fromkeys((*blueprint.fitted_observations, *((blueprint.view,) if pictures else ())))
            result = _fit(folder, opened, source, indices, tuple(observations), chosen, pictures, style)
            _check_any(folder, opened, source, indices, result)
            summary = _summary(opened, request, source, indices, result, chosen)
            write_atomically(folder / CODES, save(result.as_tensors()), within=folder)
            write_atomically(folder / RESULT, summary.json_text(), within=folder)
        shutil.rmtree(folder / _BATCHES, ignore_errors=True)
        return summary


def _open(folder: Path, request: dict[str, Any]) -> None:
    """Make the folder, or check that the fit in it is this one."""
    try:
        found = folder / _REQUEST
        if found.is_file():
            if json.loads(found.read_bytes()) != json.loads(_json(request)):
                raise StorageError(
                    f"{folder} holds a fit of another model, of other frames or with other options",
                    hint="choose another --out, or remove that folder",
                )
        elif not all(map(is_leftover, folder.iterdir())):
            raise StorageError(f"{folder} is not empty and holds no fit", hint="choose another --out")
        for place in (folder, folder / _BATCHES, folder / PICTURES):
            remove_temporaries(place)
        if not (folder / RESULT).exists():
            # The request first, so that a fit that is killed is known from then on.
            write_atomically(found, _json(request), within=folder)
            make_folder(folder / _BATCHES, within=folder)
    except OSError as error:
        raise storage_error(folder, error) from error
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{folder / _REQUEST}: is damaged: {error}", hint="Remove that folder.") from error


@contextlib.contextmanager
def _nothing_left_of_a_failure(folder: Path) -> Iterator[None]:
    """Remove a fit that failed before it kept a batch, so that it is not in the way of one with other options."""
    try:
        yield
    except Exception:
        if not any((folder / _BATCHES).glob("*.safetensors")):
            for place in (folder / _BATCHES, folder / PICTURES):
                shutil.rmtree(place, ignore_errors=True)
            for name in (_GRID, _REQUEST):
                with contextlib.suppress(OSError):
                    (folder / name).unlink(missing_ok=True)
        raise


def _choose(folder: Path, opened: OpenedModel, split: Split, indices: np.ndarray, style: Style) -> GridChoice | None:
    """Choose by the grid once, and keep the choice beside the batches."""
    avatar, spec, blueprint = opened.avatar, opened.spec, opened.blueprint
    grid = spec.fitting.grid
    if grid is None:
        return None
    if (folder / _GRID).exists():
        return GridChoice.read(folder / _GRID, "Remove that file, and what was chosen is searched for again.")
    batch = indices[spread(grid.frames, len(indices))]
    rates = len(grid.learning_rate) if spec.fitting.has_learning_rate else 1
    rows = len(batch) * rates * len(grid.latent_weight)
    with progress(rows, f"search {spec.name}", "fit", style=style) as bar:
        metric = next(iter(build_metrics(avatar, spec.evaluation.metrics[:1], blueprint.view).values()))
        observations = (*blueprint.fitted_observations, *Needs.of([metric.planned]).targets)
        frame = load_frames(split, batch, observations)
        chosen = choose(avatar, frame, spec.fitting, metric=metric, progress=bar)
    write_atomically(folder / _GRID, chosen.json_text(), within=folder)
    return chosen


def _fit(
    folder: Path,
    opened: OpenedModel,
    split: Split,
    indices: np.ndarray,
    observations: Sequence[str],
    chosen: GridChoice | None,
    pictures: bool,
    style: Style,
) -> FittingResult:
    """Fit batch by batch; those that an earlier run wrote are read."""
    avatar, spec = opened.avatar, opened.spec
    parts = []
    chunks = np.array_split(indices, range(spec.fitting.batch, len(indices), spec.fitting.batch))
    with progress(len(indices), f"fit {spec.name}", "frame", style=style) as bar:
        for number, chunk in enumerate(chunks):
            place = folder / _BATCHES / f"{number:06d}.safetensors"
            part = _read(place, opened, len(chunk))
            if part is None:
                frame = load_frames(split, chunk, observations)
                part = fit(avatar, frame, spec.fitting, chosen=chosen, progress=bar)
                if pictures:
                    _write_pictures(folder / PICTURES, opened, part, frame)
                write_atomically(place, save(part.as_tensors()), within=folder)
            else:
                bar.advance(len(chunk))
            parts.append(part.to("cpu"))
    return FittingResult.join(parts)


def _check_any(folder: Path, opened: OpenedModel, split: Split, indices: np.ndarray, result: FittingResult) -> None:
    """Raise an error if not a single frame was fitted, and keep no batch then."""
    if result.fitted.any() and not result.unseen.all():
        return
    shutil.rmtree(folder / _BATCHES, ignore_errors=True)
    index = int(indices[0])
    first = f"segment {split.segments[index]}, frame {int(split.numbers[index])}"
    if not result.fitted.any():
        frame = load_frames(split, indices[:1], opened.blueprint.fitted_observations)
        fault = first_fault(opened.avatar, frame, opened.spec.fitting)
        raise not_finite(f"{opened.spec.name}: no frame could be fitted: before the first step the {fault} of {first}")
    raise CaptureError(
        f"none of the frames shows anything to fit to; the first is {first}: the masks or keypoints of its targets are "
        "empty",
        "Name other frames with --frames, or repair the capture's masks.",
    )


def _read(place: Path, opened: OpenedModel, count: int) -> FittingResult | None:
    """A batch that was fitted before; None if there is none, or it is damaged and has to be fitted again."""
    try:
        part = FittingResult.from_tensors(load_file(place)) if place.exists() else None
    except (SafetensorError, OSError, TypeError):
        return None
    if part is None or part.codes.shape != (count, opened.spec.code):
        return None
    curves = {tuple(curve.shape) for curve in part.curves.values()}
    return part if curves == {(count, opened.spec.fitting.steps + 1)} else None


def _write_pictures(folder: Path, opened: OpenedModel, result: FittingResult, frame: Frame) -> None:
    """Write one PNG a frame: the target, and what the fitted code looks like. Frames without a picture have none."""
    make_folder(folder, within=folder.parent)
    avatar = opened.avatar
    views = frame[opened.blueprint.view].to(avatar.device)
    with frozen(avatar):
        rendered, found = draw(avatar, result.codes.to(avatar.device), views.camera)
    for row, (segment, number) in enumerate(zip(frame.segments, frame.numbers.tolist(), strict=True)):
        if row not in found:
            target = strip(views.images[row]).expand(len(rendered[row][0]), -1, -1)  # grey ones in as many channels
            both = torch.cat([target, strip(rendered[row])], dim=2)
            write_atomically(folder / f"{file_stem(segment, number)}.png", png(both), within=folder.parent)


def _summary(
    opened: OpenedModel,
    request: dict[str, Any],
    split: Split,
    indices: np.ndarray,
    result: FittingResult,
    chosen: GridChoice | None,
) -> FitSummary:
    losses = result.losses.masked_fill(result.unseen, torch.nan)
    columns = zip(
        indices.tolist(),
        losses.tolist(),
        result.steps.tolist(),
        result.distance.tolist(),
        result.nonfinite.tolist(),
        result.unseen.tolist(),
        strict=True,
    )
    frames = tuple(
        FittedFrame(
            segment=split.segments[index],
            number=int(split.numbers[index]),
            loss=loss,
            steps=steps,
            distance=distance,
            stopped_not_finite=nonfinite,
            shows_nothing=unseen,
        )
        for index, loss, steps, distance, nonfinite, unseen in columns
    )
    # The order of the curves, as batches that were read have them in another than those that were just fitted.
    names = sorted(result.curves, key=lambda name: (name == "total", name))
    curves = {
        name: Curve(
            mean=tuple(result.curves[name].nanmean(dim=0).tolist()),
            rows=tuple(result.curves[name].isfinite().sum(dim=0).tolist()),
        )
        for name in names
    }
    return FitSummary(request=request, name=opened.spec.name, grid=chosen, frames=frames, curves=curves)


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
