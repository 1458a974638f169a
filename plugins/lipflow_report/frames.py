"""The report's frames: targets, what each model made of them, and where that is wrong."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from lipflow_core.evaluation.folder import PICTURES
from lipflow_core.evaluation.result import CODES, Evaluation, ModelScores
from lipflow_core.splits import file_stem
from lipflow_report.markup import Markup, join, tag
from lipflow_report.pictures import common_limit, difference, heat, heat_gradient, image, read

_UNFOLDED = 4
"""Models up to which all frames are unfolded; of more only the first frame is."""
_CAPTIONS = {code: name.replace(" fitting", "") for code, name in CODES.items()}


@dataclass(frozen=True)
class _Shown:
    """A model's pictures of one frame: the target, its mask, and a picture for each code."""

    model: ModelScores
    row: int
    target: np.ndarray
    mask: np.ndarray | None
    pictures: dict[str, np.ndarray]

    def differences(self) -> dict[str, np.ndarray]:
        codes = [code for code in ("start", "fitted") if code in self.pictures]
        return {code: difference(self.pictures[code], self.target, self.mask) for code in codes}


def frame_sections(evaluation: Evaluation, folder: Path) -> list[Markup]:
    """A section for each frame whose pictures were kept, after a legend that all share; empty if there are none.

    Where models are many only the first is unfolded.
    """
    frames = dict.fromkeys(
        (segment, number) for model in evaluation.models for segment, number in map(tuple, model.frames)
    )
    shown = {frame: [s for m in evaluation.models if (s := _shown(m, folder, frame)) is not None] for frame in frames}
    shown = {frame: models for frame, models in shown.items() if models}
    if not shown:
        return []
    limit = common_limit(error for models in shown.values() for one in models for error in one.differences().values())
    sections = [
        _section(frame, models, folder, limit, unfolded=place == 0 or len(models) <= _UNFOLDED)
        for place, (frame, models) in enumerate(shown.items())
    ]
    return [_legend(limit), *sections]


def _shown(model: ModelScores, folder: Path, frame: tuple[str, int]) -> _Shown | None:
    place, stem = folder / model.folder / PICTURES, file_stem(*frame)
    target = read(place / f"{stem}.target.png")
    if target is None:
        return None
    found = {code: read(place / f"{stem}.{code}.png") for code in CODES}
    pictures = {code: picture for code, picture in found.items() if picture is not None}
    row = [tuple(other) for other in model.frames].index(frame)
    return _Shown(model, row, target, read(place / f"{stem}.mask.png"), pictures)


def _section(frame: tuple[str, int], models: list[_Shown], folder: Path, limit: float, *, unfolded: bool) -> Markup:
    segment, number = frame
    top = [_figure(image(models[0].target, "target"), [tag("b", "target")])]
    known: set[str] = set()
    for one in models:
        for path in sorted((folder / one.model.folder / PICTURES).glob(f"{file_stem(*frame)}.seen-*.png")):
            name = path.name.removesuffix(".png").rpartition(".seen-")[2]
            if name not in known and (picture := read(path)) is not None:
                known.add(name)
                wide = "wide" if picture.shape[1] > 2 * picture.shape[0] else None
                top.append(_figure(image(picture, name), ["seen by fitting: ", tag("b", name)], wide))
    return tag(
        "details",
        tag("summary", f"{segment}, frame {number}"),
        tag("div", top, class_="pictures seen"),
        [_model(one, limit) for one in models],
        class_="frame",
        open=unfolded,
    )


def _model(one: _Shown, limit: float) -> Markup:
    figures = [
        _figure(image(picture, _CAPTIONS[code]), [tag("b", _CAPTIONS[code]), _score(one, code)])
        for code, picture in one.pictures.items()
    ]
    figures += [
        _figure(image(heat(error, limit), f"difference {_CAPTIONS[code]}"), [f"difference {_CAPTIONS[code]}"], "map")
        for code, error in one.differences().items()
    ]
    if "fitted" in one.pictures:
        figures.append(_figure(_slider(one), ["slide: target | after"]))
    return tag("div", tag("h4", one.model.name), tag("div", figures, class_="pictures"), class_="model")


def _score(one: _Shown, code: str) -> str:
    value = one.model.scores[code]["psnr"][one.row]
    return f" {value:.1f} dB" if math.isfinite(value) else ""


def _slider(one: _Shown) -> Markup:
    handle = tag("input", type="range", min=0, max=100, value=50, aria_label="target on the left, fit on the right")
    return tag("div", image(one.target, "target"), image(one.pictures["fitted"], "after"), handle, class_="slider")


def _figure(content: Markup, caption: list[object], class_: str | None = None) -> Markup:
    return tag("figure", content, tag("figcaption", caption), class_=class_)


def _legend(limit: float) -> Markup:
    bar = tag("span", class_="bar", style=f"background: {heat_gradient()}")
    text = "mean absolute difference of the colour channels, in [0, 1], within the mask"
    return join(
        [
            tag("p", "Pictures as decoded and drawn; PSNR of that frame in the captions.", class_="soft small"),
            tag("div", "0", bar, f"{limit:g} and more: {text}", class_="legend"),
        ]
    )
