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

import hashlib
import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lipflow_core.avatar import Avatar, frozen
from lipflow_core.errors import StorageError
from lipflow_core.fitting.fit import choose, fit
from lipflow_core.fitting.result import FittingResult, GridChoice
from lipflow_core.interfaces import Split
from lipflow_core.model_directory import OpenedModel, open_model
from lipflow_core.pictures import png, strip
from lipflow_core.plans import CaptureInputs, Needs
from lipflow_core.progress import Style, progress
from lipflow_core.scoring import build_metrics
from lipflow_core.specs.model import Spec
from lipflow_core.splits import file_stem, load_frames, open_split, select, spread
from lipflow_core.storage import (
    check_folder,
    is_temporary,
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
) -> dict[str, Any]:
    """Fit frames with a trained model and write codes, losses and curves.

    Called again with the same arguments after it was ended at any instant, it goes on with the first batch that is not
    yet written; when all is done, it returns what is there.

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
        lipflow_core.errors.CaptureError: If there is no such frame, or one is damaged.
        lipflow_core.errors.StorageError: If `out` holds something else or can't be written.
    """
    check_folder(out)
    opened = open_model(model, overrides=overrides)
    avatar, spec, blueprint = opened.avatar, opened.spec, opened.blueprint
    capture = spec.capture.build(CaptureInputs())
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
    _open(folder, request)
    if (folder / RESULT).exists():
        return json.loads((folder / RESULT).read_text(encoding="utf-8"))
    observations = blueprint.fitted_observations
    chosen = _choose(folder, opened, source, indices, style)
    if pictures:
        observations = (*observations, blueprint.view)
    parts = []
    chunks = np.array_split(indices, range(spec.fitting.batch, len(indices), spec.fitting.batch))
    with progress(len(indices), f"fit {spec.name}", "frame", style=style) as bar:
        for number, chunk in enumerate(chunks):
            place = folder / _BATCHES / f"{number:06d}.safetensors"
            part = _read(place)
            if part is None:
                frame = load_frames(source, chunk, observations)
                part = fit(avatar, frame, spec.fitting, chosen=chosen, progress=bar)
                if pictures:
                    _write_pictures(folder / PICTURES, avatar, part, frame.to(avatar.device), blueprint.view)
                write_atomically(place, save(part.as_tensors()), within=folder)
            else:
                bar.advance(len(chunk))
            parts.append(part.to("cpu"))
    result = FittingResult.join(parts)
    summary = _summary(spec, source, indices, result, chosen)
    write_atomically(folder / CODES, save(result.as_tensors()), within=folder)
    write_atomically(folder / RESULT, _json({"request": request, **summary}), within=folder)
    shutil.rmtree(folder / _BATCHES, ignore_errors=True)
    return json.loads((folder / RESULT).read_text(encoding="utf-8"))


def _open(folder: Path, request: dict[str, Any]) -> None:
    """Make the folder, or check that the fit in it is this one."""
    try:
        found = folder / _REQUEST
        if found.is_file():
            if json.loads(found.read_text(encoding="utf-8")) != json.loads(_json(request)):
                raise StorageError(
                    f"{folder} holds a fit of another model, of other frames or with other options",
                    hint="choose another --out, or remove that folder",
                )
        elif folder.is_dir() and not all(map(is_temporary, folder.iterdir())):
            raise StorageError(f"{folder} is not empty and holds no fit", hint="choose another --out")
        folder.mkdir(parents=True, exist_ok=True)
        for place in (folder, folder / _BATCHES, folder / PICTURES):
            remove_temporaries(place)
        if not (folder / RESULT).exists():
            # The request first, so that a fit that is killed is known from then on.
            write_atomically(found, _json(request), within=folder)
            make_folder(folder / _BATCHES, within=folder)
    except OSError as error:
        raise storage_error(folder, error) from error
    except ValueError as error:
        raise StorageError(f"{folder / _REQUEST} is damaged: {error}", hint="remove that folder") from error


def _choose(folder: Path, opened: OpenedModel, split: Split, indices: np.ndarray, style: Style) -> GridChoice | None:
    """Choose by the grid once, and keep the choice beside the batches."""
    avatar, spec, blueprint = opened.avatar, opened.spec, opened.blueprint
    grid = spec.fitting.grid
    if grid is None:
        return None
    if (folder / _GRID).exists():
        return GridChoice.model_validate_json((folder / _GRID).read_bytes())
    batch = indices[spread(grid.frames, len(indices))]
    rows = len(batch) * len(grid.learning_rate) * len(grid.latent_weight)
    with progress(rows, f"search {spec.name}", "fit", style=style) as bar:
        metric = next(iter(build_metrics(avatar, spec.evaluation.metrics[:1], blueprint.view).values()))
        observations = (*blueprint.fitted_observations, *Needs.of([metric.planned]).targets)
        frame = load_frames(split, batch, observations)
        chosen = choose(avatar, frame, spec.fitting, metric=metric, progress=bar)
    write_atomically(folder / _GRID, chosen.json_text(), within=folder)
    return chosen


def _read(place: Path) -> FittingResult | None:
    """A batch that was fitted before; None if there is none that can be read."""
    if not place.exists():
        return None
    try:
        return FittingResult.from_tensors(load_file(place))
    except (SafetensorError, OSError, TypeError):
        return None


def _write_pictures(folder: Path, avatar: Avatar, result: FittingResult, frame: Any, view: str) -> None:
    """One PNG a frame: the target, and what the fitted code looks like."""
    make_folder(folder, within=folder.parent)
    views = frame[view]
    with frozen(avatar), torch.no_grad():
        rendered = avatar.render(avatar.decode(result.codes.to(avatar.device), views.camera), views.camera).image
        rendered = rendered.clamp(0, 1).unflatten(0, views.images.shape[:2])
    for row, (segment, number) in enumerate(zip(frame.segments, frame.numbers.tolist(), strict=True)):
        both = torch.cat([strip(views.images[row]), strip(rendered[row])], dim=2)
        write_atomically(folder / f"{file_stem(segment, number)}.png", png(both), within=folder.parent)


def _summary(
    spec: Spec, split: Split, indices: np.ndarray, result: FittingResult, chosen: GridChoice | None
) -> dict[str, Any]:
    curves = {
        name: {"mean": _plain(curve.nanmean(dim=0)), "rows": curve.isfinite().sum(dim=0).tolist()}
        for name, curve in result.curves.items()
    }
    columns = zip(
        indices.tolist(),
        result.losses.tolist(),
        result.steps.tolist(),
        result.distance.tolist(),
        result.nonfinite.tolist(),
        strict=True,
    )
    return {
        "name": spec.name,
        "grid": None if chosen is None else chosen.model_dump(mode="json"),
        "frames": [
            {
                "segment": split.segments[index],
                "number": int(split.numbers[index]),
                "loss": loss if np.isfinite(loss) else None,
                "steps": steps,
                "distance": distance,
                "stopped_not_finite": nonfinite,
            }
            for index, loss, steps, distance, nonfinite in columns
        ],
        "curves": curves,
    }


def _plain(values: torch.Tensor) -> list[float | None]:
    return [value if np.isfinite(value) else None for value in values.tolist()]


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
