"""The report's frames: targets, what each model made of them, and where that is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipflow_core.errors import ResultError
from lipflow_core.evaluation.folder import PICTURES
from lipflow_core.evaluation.result import CODES, Code, Evaluation, ModelScores
from lipflow_core.selection import file_stem
from lipflow_report.images import Inlined, common_limit, difference, heat, inlined, read

_UNFOLDED = 4
"""Models up to which all frames are unfolded; of more only the first frame is."""
_CAPTIONS = {code: name.replace(" fitting", "") for code, name in CODES.items()}


@dataclass(frozen=True)
class Figure:
    """A picture with its caption.

    Args:
        picture: The picture.
        name: Words in bold; empty for none.
        text: Words after the name.
        lead: Words before the name.
        style: Class of the element.
    """

    picture: Inlined
    name: str = ""
    text: str = ""
    lead: str = ""
    style: str = ""


@dataclass(frozen=True)
class ModelFigures:
    """Holds the pictures of one model's fit of a frame.

    Args:
        model: Name of the model.
        figures: Pictures and difference maps.
        slider: The target and the fit to slide between; None without a fit.
    """

    model: str
    figures: list[Figure]
    slider: tuple[Inlined, Inlined] | None


@dataclass(frozen=True)
class FrameSection:
    """Holds the section of the report on one frame.

    Args:
        title: Segment and number of the frame.
        unfolded: Whether the section is open at first.
        seen: Pictures of the target and of the observations that were fitted.
        models: Pictures of each model's fit.
    """

    title: str
    unfolded: bool
    seen: list[Figure]
    models: list[ModelFigures]


@dataclass(frozen=True)
class _Shown:
    """A model's pictures of one frame: the target, its mask, and a picture for each code."""

    model: ModelScores
    row: int
    target: np.ndarray
    mask: np.ndarray | None
    pictures: dict[Code, np.ndarray]

    def differences(self) -> dict[Code, np.ndarray]:
        codes = [code for code in ("start", "fitted") if code in self.pictures]
        return {code: difference(self.pictures[code], self.target, self.mask) for code in codes}


def frame_sections(evaluation: Evaluation, folder: Path) -> tuple[list[FrameSection], float]:
    """Make a section for each frame whose pictures were kept, and say what the lightest colour of the maps means.

    Where models are many only the first section is unfolded.

    Raises:
        lipflow_core.errors.ResultError: If a picture is damaged, or of another size than its target.
    """
    frames = dict.fromkeys(frame for model in evaluation.models for frame in model.frames)
    shown = {frame: [s for m in evaluation.models if (s := _shown(m, folder, frame)) is not None] for frame in frames}
    shown = {frame: models for frame, models in shown.items() if models}
    limit = common_limit(error for models in shown.values() for one in models for error in one.differences().values())
    sections = [
        FrameSection(
            title=f"{segment}, frame {number}",
            unfolded=place == 0 or len(models) <= _UNFOLDED,
            seen=_seen((segment, number), models, folder),
            models=[_model(one, limit) for one in models],
        )
        for place, ((segment, number), models) in enumerate(shown.items())
    ]
    return sections, limit


def _shown(model: ModelScores, folder: Path, frame: tuple[str, int]) -> _Shown | None:
    place, stem = folder / model.folder / PICTURES, file_stem(*frame)
    target = read(place / f"{stem}.target.png")
    if frame not in model.frames or target is None:
        return None
    found = {name: read(place / f"{stem}.{name}.png") for name in (*CODES, "mask")}
    for name, picture in found.items():
        if picture is not None and picture.shape != target.shape:
            raise ResultError(
                f"{place / f'{stem}.{name}.png'}: is not of its target's size", "Run lipflow-core evaluate again."
            )
    pictures = {code: found[code] for code in CODES if found[code] is not None}
    return _Shown(model, model.frames.index(frame), target, found["mask"], pictures)


def _seen(frame: tuple[str, int], models: list[_Shown], folder: Path) -> list[Figure]:
    """List the pictures of the target and of every observation that some model was fitted to, each once."""
    figures = [Figure(inlined(models[0].target, "target"), name="target")]
    known: set[str] = set()
    for one in models:
        for path in sorted((folder / one.model.folder / PICTURES).glob(f"{file_stem(*frame)}.seen-*.png")):
            name = path.name.removesuffix(".png").rpartition(".seen-")[2]
            if name not in known and (picture := read(path)) is not None:
                known.add(name)
                style = "wide" if picture.shape[1] > 2 * picture.shape[0] else ""
                figures.append(Figure(inlined(picture, name), name=name, lead="seen by fitting: ", style=style))
    return figures


def _model(one: _Shown, limit: float) -> ModelFigures:
    figures = [
        Figure(inlined(picture, _CAPTIONS[code]), name=_CAPTIONS[code], text=_score(one, code))
        for code, picture in one.pictures.items()
    ]
    for code, error in one.differences().items():
        text = f"difference {_CAPTIONS[code]}"
        figures.append(Figure(inlined(heat(error, limit), text), text=text, style="map"))
    slider = None
    if "fitted" in one.pictures:
        slider = inlined(one.target, "target"), inlined(one.pictures["fitted"], "after")
    return ModelFigures(one.model.name, figures, slider)


def _score(one: _Shown, code: Code) -> str:
    """Print the first metric's value of the frame, to one decimal place less than tables have."""
    for metric, column in one.model.metrics.items():
        value = one.model.scores[code][metric][one.row] if code in one.model.scores else math.nan
        shorter = column.model_copy(update={"digits": max(1, column.digits - 1)})
        return f" {shorter.text(value, unit=True)}" if math.isfinite(value) else ""
    return ""
