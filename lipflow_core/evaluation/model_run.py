"""One model's evaluation: its frames loaded, fitted and scored."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipflow_core.avatar import Avatar, frozen
from lipflow_core.evaluation.calibration import DRAWS, SAMPLES, SEED, Ranks, calibration, rank
from lipflow_core.evaluation.result import METRICS, ModelScores
from lipflow_core.evaluation.scores import Scores, score
from lipflow_core.fitting.fit import choose, fit
from lipflow_core.fitting.result import FittingResult, GridChoice
from lipflow_core.interfaces import Capture, Split
from lipflow_core.model_directory import model_blueprint
from lipflow_core.model_lock import read_lock
from lipflow_core.pictures import observed_picture, strip
from lipflow_core.planning import Blueprint
from lipflow_core.progress import Progress, Style, progress
from lipflow_core.records import Frame
from lipflow_core.specs.model import Fitting, Spec
from lipflow_core.splits import file_stem, load_frames, observations_needed, open_split, spread
from lipflow_core.version import __version__

FITTED = "fitted"
WITHOUT = "fitted-without-likelihood"


@dataclass(frozen=True)
class Fits:
    """All that was computed for a model's frames.

    Args:
        posterior: (N, D) Q's codes.
        fits: Variant, "fitted" or "fitted-without-likelihood" → what fitting gave.
        scores: Code, as in `lipflow_core.evaluation.result.CODES` → scores of the N frames.
        ranks: Q's codes among draws of the prior; None where that says nothing.
        pictures: For the report's frames, name such as "EXP_smile-000012.fitted" → picture (C, H, W).
        seconds: Wall-clock time of the fits.
    """

    posterior: Tensor
    fits: Mapping[str, FittingResult]
    scores: Mapping[str, Scores]
    ranks: Ranks | None
    pictures: Mapping[str, Tensor]
    seconds: float

    @classmethod
    def join(cls, parts: Sequence[Fits]) -> Fits:
        """Several batches of frames as one."""
        first = parts[0]
        return cls(
            posterior=torch.cat([part.posterior for part in parts]),
            fits={name: FittingResult.join([part.fits[name] for part in parts]) for name in first.fits},
            scores={name: Scores.join([part.scores[name] for part in parts]) for name in first.scores},
            ranks=None if first.ranks is None else Ranks.join([part.ranks for part in parts]),
            pictures={name: picture for part in parts for name, picture in part.pictures.items()},
            seconds=sum(part.seconds for part in parts),
        )


@dataclass(frozen=True)
class ModelRun:
    """The evaluation of one model.

    Args:
        spec: The model's spec, with the overrides.
        avatar: The model.
        path: Its folder.
        capture: Where frames come from.
        split: Which split of it.
        frames: At most this many frames, evenly spread.
        without_likelihood: Fit a second time, without the objectives that ask the prior.
    """

    spec: Spec
    avatar: Avatar
    path: Path
    capture: Capture
    split: str
    frames: int
    without_likelihood: bool

    @property
    def identity(self) -> str:
        """Hash of all that the scores depend on: weights, options, frames and code version."""
        options = {
            "version": __version__,
            "weights": read_lock(self.path).sha256["weights.safetensors"],
            "spec": self.spec.model_dump(mode="json", include={"code", "renderer", "fitting", "evaluation"}),
            "capture": self.capture.identity,
            "split": self.split,
            "frames": self.frames,
            "without_likelihood": self.without_likelihood,
            "calibration": [DRAWS, SAMPLES, SEED],
        }
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]

    def run(self, name: str, folder: str, style: Style) -> tuple[ModelScores, Fits]:
        """Fit and score all frames.

        Args:
            name: How tables call the model.
            folder: Name of the folder that will hold the scores.
            style: How progress is shown.
        """
        split = open_split(self.capture, self.split)
        indices = spread(self.frames, len(split))
        blueprint = model_blueprint(self.path, self.spec, self.avatar.device.type)
        needed = observations_needed(blueprint)
        observations = (
            *needed,
            self.avatar.encoder.modality,
            self.spec.evaluation.view,
            "face",
        )
        variants = self._variants(blueprint)
        with progress(self._fits(variants, len(indices)), f"fit {name}", "frame", style=style) as bar:
            chosen = self._choose(variants, split, indices, observations, bar)
            shown = set(indices[spread(self.spec.evaluation.report_frames, len(indices))].tolist())
            generator = torch.Generator(self.avatar.device).manual_seed(SEED)
            parts = []
            for chunk in np.array_split(indices, -(-len(indices) // (2 * self.spec.fitting.batch))):
                frame = load_frames(split, chunk, observations).to(self.avatar.device)
                rows = [row for row, index in enumerate(chunk.tolist()) if index in shown]
                part = self._fit(frame, variants, chosen, rows, generator, bar)
                targets = dict(self._target_pictures(frame, needed, rows))
                parts.append(replace(part, pictures={**part.pictures, **targets}))
        fits = Fits.join(parts)
        return self._scores(name, folder, split, indices, fits, chosen), fits

    def _variants(self, blueprint: Blueprint) -> dict[str, Fitting]:
        """The fits to make: as the spec says, and without the objectives that ask the prior."""
        fitting = self.spec.fitting
        variants = {FITTED: fitting}
        kept = tuple(planned.part for planned in blueprint.objectives if "prior" not in planned.plan.needs)
        if self.without_likelihood and 0 < len(kept) < len(fitting.objectives):
            variants[WITHOUT] = fitting.model_copy(update={"objectives": kept})
        return variants

    def _fits(self, variants: Mapping[str, Fitting], frames: int) -> int:
        """Fits of one frame that will be made, those of grid searches included."""
        total = frames * len(variants)
        for name, fitting in variants.items():
            if fitting.grid is not None:
                weights = 1 if name == WITHOUT else len(fitting.grid.latent_weight)
                total += min(fitting.grid.frames, frames) * len(fitting.grid.learning_rate) * weights
        return total

    def _choose(
        self,
        variants: Mapping[str, Fitting],
        split: Split,
        indices: np.ndarray,
        observations: Sequence[str],
        bar: Progress,
    ) -> dict[str, GridChoice]:
        """Search each variant's grid, if it has one, on a batch spread over the evaluated frames."""
        chosen = {}
        for name, fitting in variants.items():
            if fitting.grid is not None:
                batch = indices[spread(fitting.grid.frames, len(indices))]
                frame = load_frames(split, batch, observations)
                chosen[name] = choose(self.avatar, frame, fitting, view=self.spec.evaluation.view, progress=bar)
        return chosen

    def _fit(
        self,
        frame: Frame,
        variants: Mapping[str, Fitting],
        chosen: Mapping[str, GridChoice],
        shown: Sequence[int],
        generator: torch.Generator,
        bar: Progress,
    ) -> Fits:
        """Fit and score one batch; `shown` are the rows of which pictures of the codes are kept, `generator` ranks."""
        view = self.spec.evaluation.view
        begun = time.perf_counter()
        fits = {
            name: fit(self.avatar, frame, fitting, view=view, chosen=chosen.get(name), progress=bar)
            for name, fitting in variants.items()
        }
        seconds = time.perf_counter() - begun
        scores, pictures = {}, {}
        with frozen(self.avatar), torch.no_grad():
            posterior = self.avatar.encode(frame)
            codes = {"posterior": posterior.mean, "start": fits[FITTED].starts}
            codes |= {name: result.codes for name, result in fits.items()}
            for name, code in codes.items():
                scores[name], rendered = score(self.avatar, code, frame, view)
                pictures |= {f"{_stem(frame, row)}.{name}": strip(rendered[row]) for row in shown}
            ranks = None
            if self._not_calibrated is None:
                prior = self.avatar.fitting_prior
                driving = self.avatar.drive(frame) if "driving" in prior.planned.needs else None
                ranks = rank(prior.condition(driving), posterior, generator)
        return Fits(codes["posterior"], fits, scores, ranks, pictures, seconds)

    @property
    def _not_calibrated(self) -> str | None:
        """Why Q's codes tell nothing of the prior that fits; None if they do."""
        if self.avatar.encoder is self.avatar.driving and "driving" in self.avatar.fitting_prior.planned.needs:
            return "Q is the driving encoder itself, so that the prior is asked about codes that it was made from"
        return None

    def _target_pictures(
        self, frame: Frame, needed: Sequence[str], rows: Sequence[int]
    ) -> Iterator[tuple[str, Tensor]]:
        """What frames are compared with, where (the mask), and what fitting saw of them, the observations `needed`."""
        view = frame[self.spec.evaluation.view]
        seen = [name for name in needed if name != self.spec.evaluation.view]
        for row in rows:
            yield f"{_stem(frame, row)}.target", strip(view.images[row])
            yield f"{_stem(frame, row)}.mask", strip(view.mask[row][:, None])
            for name in seen:
                picture = observed_picture(frame, name, row)
                if picture is not None:
                    yield f"{_stem(frame, row)}.seen-{name}", picture

    def _scores(
        self,
        name: str,
        folder: str,
        split: Split,
        indices: np.ndarray,
        fits: Fits,
        chosen: Mapping[str, GridChoice],
    ) -> ModelScores:
        spread_of_codes = (fits.posterior - fits.posterior.mean(dim=0)).square().sum(dim=1).mean().sqrt()
        return ModelScores(
            name=name,
            system=self.spec.name,
            preset=self.spec.preset,
            model=str(self.path),
            identity=self.identity,
            folder=folder,
            frames=[(split.segments[i], int(split.numbers[i])) for i in indices],
            scores={code: _columns(values) for code, values in fits.scores.items()},
            distance={name: (result.distance / spread_of_codes).tolist() for name, result in fits.fits.items()},
            steps={name: result.steps.tolist() for name, result in fits.fits.items()},
            nonfinite={name: int(result.nonfinite.sum()) for name, result in fits.fits.items()},
            grid={name: choice.as_data() for name, choice in chosen.items()},
            calibration=None if fits.ranks is None else calibration(fits.ranks),
            not_calibrated=self._not_calibrated,
            seconds=round(fits.seconds, 3),
            provenance=self._provenance(),
        )

    def _provenance(self) -> dict[str, Any]:
        return {
            "capture": self.capture.identity,
            "capture_name": capture_name(self.spec.capture.as_data()),
            "device": str(self.avatar.device),
            "threads": torch.get_num_threads(),
            "parameters": sum(parameter.numel() for parameter in self.avatar.parameters()),
        }


def capture_name(options: Mapping[str, Any]) -> str:
    """How tables call a capture: its type, and its subject or folder if its options name one.

    Example:
        >>> capture_name({"type": "dome", "subject": "p01"})
        'dome p01'
    """
    named = next((str(options[key]) for key in ("subject", "path") if options.get(key)), "")
    return f"{options['type']} {Path(named).name}".strip()


def _columns(scores: Scores) -> dict[str, list[float]]:
    return {metric: getattr(scores, metric).tolist() for metric in METRICS}


def _stem(frame: Frame, row: int) -> str:
    return file_stem(frame.segments[row], int(frame.numbers[row]))
