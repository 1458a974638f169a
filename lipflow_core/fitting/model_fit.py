"""Fits a trained model to frames of its capture, batch by batch; a fit that was killed continues where it ended.

```
OUT/
  fit.json            frames, losses, steps, distances and mean curves; written last, so the fit is done if it exists
  codes.safetensors   every tensor of the `FittingResult`
  pictures/           pictures of the scored view, each beside its fit, if asked for
  request.json, grid.json             what was asked for, and what the grid search chose
  batches/            fitted frames of a fit that is not done
```
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save

from lipflow_core.avatar import frozen
from lipflow_core.claiming import claimed, is_leftover
from lipflow_core.errors import CaptureError, ResultError, StorageError
from lipflow_core.fitting.fit import choose, first_fault, fit, visible_pictures
from lipflow_core.fitting.grid import frames_to_choose_on
from lipflow_core.fitting.pose import pose_errors
from lipflow_core.fitting.result import Curve, FitSummary, FittedFrame, FittingResult, GridChoice
from lipflow_core.interfaces import Split
from lipflow_core.model_directory import OpenedModel, open_model
from lipflow_core.observing import draw, not_finite
from lipflow_core.pictures import png, strip
from lipflow_core.plans import Needs
from lipflow_core.progress import Style, progress
from lipflow_core.records import Frame
from lipflow_core.scoring import build_metrics
from lipflow_core.selection import file_stem, positions
from lipflow_core.sequences import batches_of_runs
from lipflow_core.splits import load_frames, open_capture, open_split
from lipflow_core.storage import (
    check_folder,
    check_regular,
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
    chosen: GridChoice | None = None,
    style: Style = "none",
) -> FitSummary:
    """Fit frames with a trained model and write codes, losses and curves.

    If an earlier call with the same arguments was interrupted, the fit continues with the first batch that was not
    written yet. A finished fit is read and returned. A fit that fails before its first batch is written leaves nothing
    behind.

    Args:
        model: Model directory.
        out: Folder to write; it must be empty or hold the same fit.
        frames: Frames to fit, such as "0:32" or "EXP_smile/000012,EXP_blink" (see `lipflow_core.selection.positions`);
            all frames of the split if None.
        split: Split of the capture.
        overrides: Changes to the spec, such as "fitting.steps=50".
        pictures: Whether to write pictures of the fitted codes.
        chosen: Result of an earlier grid search, which replaces a new search.
        style: How progress is shown.

    Returns:
        The content of `fit.json`.

    Raises:
        lipflow_core.errors.ModelError: If the folder holds no model.
        lipflow_core.errors.UsageError: If there is no such frame.
        lipflow_core.errors.CaptureError: If a frame is damaged, or none shows anything to fit to.
        lipflow_core.errors.NumericalError: If no frame could be fitted, naming the part of the model that gives NaN.
        lipflow_core.errors.ResultError: If the results of an earlier run in `out` are damaged.
        lipflow_core.errors.StorageError: If `out` holds something else, can't be written, or is in use.
    """
    check_folder(out)
    opened = open_model(model, overrides=overrides)
    capture = open_capture(opened.blueprint)
    source = open_split(capture, split)
    indices = np.arange(len(source)) if frames is None else positions(source.segments, source.numbers, frames)
    request = {
        "version": __version__,
        "weights": opened.lock.sha256["weights.safetensors"],
        "capture": capture.identity,
        "split": split,
        "frames": hashlib.sha256(indices.astype("<i8").tobytes()).hexdigest(),
        "pictures": pictures,
        "spec": opened.spec.model_dump(mode="json", include={"renderer", "fitting", "evaluation"}),
        **({} if chosen is None else {"chosen": chosen.model_dump(mode="json")}),
    }
    folder = Path(out)
    with claimed(folder, "fitting"):
        _open(folder, request)
        if (folder / RESULT).exists():
            summary = FitSummary.read(folder / RESULT, "Remove that file and fit again.")
        else:
            with _nothing_left_of_a_failure(folder):
                summary = _ModelFit(folder, opened, source, indices, pictures, style).run(request, chosen)
        shutil.rmtree(folder / _BATCHES, ignore_errors=True)
        return summary


def _open(folder: Path, request: dict[str, Any]) -> None:
    """Make the folder, or check that it holds the same fit."""
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
            # The request is written first: it marks the folder as one of a fit, even if the fit is killed at once.
            write_atomically(found, _json(request), within=folder)
            make_folder(folder / _BATCHES, within=folder)
    except OSError as error:
        raise storage_error(folder, error) from error
    except (ValueError, RecursionError) as error:
        raise ResultError(f"{folder / _REQUEST}: is damaged: {error}", hint="Remove that folder.") from error


@contextlib.contextmanager
def _nothing_left_of_a_failure(folder: Path) -> Iterator[None]:
    """Remove a fit that failed before its first batch was written, so that another fit can use the folder."""
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


def search_grid(opened: OpenedModel, split: Split, indices: np.ndarray, style: Style = "none") -> GridChoice:
    """Choose learning rate and latent weight by `fitting.grid` of a model's spec.

    Args:
        opened: The model.
        split: A split of its capture.
        indices: (N,) positions of the frames that will be fitted.
        style: How progress is shown.

    Raises:
        lipflow_core.errors.UsageError: If the grid is to be tried on frames that are not fitted, but all are.
    """
    avatar, spec, blueprint = opened.avatar, opened.spec, opened.blueprint
    grid = spec.fitting.grid
    split, batch = frames_to_choose_on(grid, split, indices, lambda: open_capture(blueprint))
    with progress(0, f"search {spec.name}", "fit", style=style) as bar:
        metric = next(iter(build_metrics(avatar, spec.evaluation.metrics[:1], blueprint.view).values()))
        observations = (*blueprint.fitted_observations, *Needs.of([metric.planned]).targets)
        frame = load_frames(split, batch, observations)
        return choose(avatar, frame, spec.fitting, metric=metric, progress=bar)


@dataclass(frozen=True)
class _ModelFit:
    """Runs a fit in its folder, which is claimed and open.

    Args:
        folder: Folder of the fit.
        opened: Model to fit.
        split: Split that frames are loaded from.
        indices: (N,) positions of the frames within the split.
        pictures: Whether pictures of the fitted codes are written.
        style: How progress is shown.
    """

    folder: Path
    opened: OpenedModel
    split: Split
    indices: np.ndarray
    pictures: bool
    style: Style

    def run(self, request: dict[str, Any], chosen: GridChoice | None) -> FitSummary:
        """Fit all frames, and write codes and summary; search the grid unless a choice is given."""
        chosen = chosen or self._choose()
        result = self._fit(chosen)
        self._check_any(result)
        summary = self._summary(request, result, chosen)
        write_atomically(self.folder / CODES, save(result.as_tensors()), within=self.folder)
        write_atomically(self.folder / RESULT, summary.json_text(), within=self.folder)
        return summary

    def _choose(self) -> GridChoice | None:
        """Search the grid, or read the choice of an earlier run; None without a grid."""
        place = self.folder / _GRID
        if self.opened.spec.fitting.grid is None:
            return None
        if place.exists():
            return GridChoice.read(place, "Remove that file, and what was chosen is searched for again.")
        chosen = search_grid(self.opened, self.split, self.indices, self.style)
        write_atomically(place, chosen.json_text(), within=self.folder)
        return chosen

    def _fit(self, chosen: GridChoice | None) -> FittingResult:
        """Fit batch by batch; batches that an earlier run wrote are read."""
        spec, blueprint, indices = self.opened.spec, self.opened.blueprint, self.indices
        names = dict.fromkeys((*blueprint.fitted_observations, *((blueprint.view,) if self.pictures else ())))
        observations = tuple(names)
        chunks = self._chunks()
        parts = []
        with progress(len(indices), f"fit {spec.name}", "frame", style=self.style) as bar:
            for number, rows in enumerate(chunks):
                chunk = indices[rows]
                place = self.folder / _BATCHES / f"{number:06d}.safetensors"
                part = self._read(place, len(chunk))
                if part is None:
                    frame = load_frames(self.split, chunk, observations)
                    part = fit(self.opened.avatar, frame, spec.fitting, chosen=chosen, progress=bar)
                    if self.pictures:
                        self._write_pictures(part, frame)
                    write_atomically(place, save(part.as_tensors()), within=self.folder)
                else:
                    bar.advance(len(chunk))
                parts.append(part.to("cpu"))
        return FittingResult.join(parts).rows(torch.from_numpy(np.concatenate(chunks).argsort()))

    def _chunks(self) -> list[np.ndarray]:
        """Divide the frames into batches; with a temporal prior a run stays whole."""
        fitting, count = self.opened.spec.fitting, len(self.indices)
        if fitting.temporal is None:
            return np.array_split(np.arange(count), range(fitting.batch, count, fitting.batch))
        segments = [self.split.segments[index] for index in self.indices]
        return batches_of_runs(segments, self.split.numbers[self.indices], fitting.batch)

    def _read(self, place: Path, count: int) -> FittingResult | None:
        """Read a batch that was fitted before; None if there is none, or if it is damaged and must be fitted again."""
        try:
            check_regular(place)
            part = FittingResult.from_tensors(load_file(place))
        except (SafetensorError, OSError, TypeError):
            return None
        if part.codes.shape != (count, self.opened.spec.code):
            return None
        curves = {tuple(curve.shape) for curve in part.curves.values()}
        return part if curves == {(count, self.opened.spec.fitting.steps + 1)} else None

    def _check_any(self, result: FittingResult) -> None:
        """Raise an error if not a single frame was fitted, and keep no batch then."""
        if result.fitted.any() and not result.unseen.all():
            return
        shutil.rmtree(self.folder / _BATCHES, ignore_errors=True)
        index, spec = int(self.indices[0]), self.opened.spec
        first = f"segment {self.split.segments[index]}, frame {int(self.split.numbers[index])}"
        if not result.fitted.any():
            frame = load_frames(self.split, self.indices[:1], self.opened.blueprint.fitted_observations)
            fault = first_fault(self.opened.avatar, frame, spec.fitting)
            raise not_finite(f"{spec.name}: no frame could be fitted: before the first step the {fault} of {first}")
        raise CaptureError(
            f"none of the frames shows anything to fit to; the first is {first}: the masks or keypoints of its targets "
            "are empty",
            "Name other frames with --frames, or repair the capture's masks.",
        )

    def _write_pictures(self, result: FittingResult, frame: Frame) -> None:
        """Write a PNG of each frame: its scored view, what a region leaves of it, its fit.

        Frames that can't be drawn have none.
        """
        folder, avatar = make_folder(self.folder / PICTURES, within=self.folder), self.opened.avatar
        views = avatar.bring(frame[self.opened.blueprint.view])
        hidden = visible_pictures(avatar, frame, self.opened.spec.fitting).get(self.opened.blueprint.view)
        with frozen(avatar):
            rendered, found = draw(avatar, result.codes.to(avatar.device), views.camera)
        for row, (segment, number) in enumerate(zip(frame.segments, frame.numbers.tolist(), strict=True)):
            if row not in found:
                pictures = [views.images[row], *([] if hidden is None else [hidden[row]]), rendered[row]]
                channels = len(rendered[row][0])  # grey pictures in as many
                together = torch.cat([strip(each).expand(channels, -1, -1) for each in pictures], dim=2)
                write_atomically(folder / f"{file_stem(segment, number)}.png", png(together), within=self.folder)

    def _summary(self, request: dict[str, Any], result: FittingResult, chosen: GridChoice | None) -> FitSummary:
        columns = {
            "loss": result.losses.masked_fill(result.unseen, torch.nan),
            "steps": result.steps,
            "distance": result.distance,
            "stopped_not_finite": result.nonfinite,
            "shows_nothing": result.unseen,
        }
        if result.residual is not None:
            columns["pose_degrees"], columns["pose_millimetres"] = pose_errors(result.residual)
        rows = zip(self.indices.tolist(), *(column.tolist() for column in columns.values()), strict=True)
        frames = tuple(
            FittedFrame(
                segment=self.split.segments[index],
                number=int(self.split.numbers[index]),
                **dict(zip(columns, values, strict=True)),
            )
            for index, *values in rows
        )
        curves = {
            name: Curve(
                mean=tuple(result.curves[name].nanmean(dim=0).tolist()),
                rows=tuple(result.curves[name].isfinite().sum(dim=0).tolist()),
            )
            # One order, whether the first batch was fitted or read.
            for name in sorted(result.curves, key=lambda name: (name == "total", name))
        }
        return FitSummary(request=request, name=self.opened.spec.name, grid=chosen, frames=frames, curves=curves)


def _json(data: Any) -> str:
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"
