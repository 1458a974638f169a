"""One model's evaluation: its frames loaded, fitted and scored."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipflow_core.avatar import frozen
from lipflow_core.evaluation.calibration import DRAWS, SAMPLES, SEED, Ranks, calibration, rank
from lipflow_core.evaluation.candidate import Candidate
from lipflow_core.evaluation.result import CODES, Code, Column, Failure, ModelScores, Provenance
from lipflow_core.fitting.fit import choose, fit
from lipflow_core.fitting.result import FittingResult, GridChoice
from lipflow_core.interfaces import Capture, Metric, Split
from lipflow_core.observing import draw, not_finite
from lipflow_core.pictures import observed_picture, strip
from lipflow_core.progress import Progress, Style, progress
from lipflow_core.records import Frame, Record
from lipflow_core.scoring import build_metrics, score
from lipflow_core.specs.model import Fitting
from lipflow_core.splits import file_stem, load_frames, spread
from lipflow_core.version import __version__

FITTED: Code = "fitted"
WITHOUT: Code = "fitted-without-likelihood"


@dataclass(frozen=True)
class Fits(Record):
    """What was computed for a model's frames.

    Args:
        posterior: (N, D) Q's codes.
        fits: Fitted code → what fitting gave.
        scores: Code → metric → (N,).
        ranks: Q's codes among draws of the prior; None where that says nothing.
    """

    posterior: Tensor
    fits: Mapping[Code, FittingResult]
    scores: Mapping[Code, Mapping[str, Tensor]]
    ranks: Ranks | None


@dataclass
class _Gathered:
    """What grows while the frames are gone through, batch by batch.

    Args:
        parts: Of each batch.
        failures: Code → the frames that could not be scored.
        pictures: Name such as "EXP_smile-000012.fitted" → picture (C, H, W).
        seconds: Wall-clock time of the fits.
    """

    parts: list[Fits] = field(default_factory=list)
    failures: dict[Code, list[Failure]] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class ModelEvaluation:
    """The evaluation of one model.

    Args:
        candidate: The model.
        capture: Where frames come from.
        split: A split of it.
        split_name: Its name.
        indices: (N,) positions of the frames within it.
        without_likelihood: Fit a second time, without the objectives that ask the prior.
    """

    candidate: Candidate
    capture: Capture
    split: Split
    split_name: str
    indices: np.ndarray
    without_likelihood: bool

    @cached_property
    def identity(self) -> str:
        """Hash of all that the scores depend on: weights, parts, options, frames and code version."""
        spec = self.candidate.spec
        options = {
            "version": __version__,
            "weights": self.candidate.weights,
            "parts": self.candidate.parts,
            "spec": spec.model_dump(mode="json", include={"code", "fitting", "evaluation"}),
            "capture": self.capture.identity,
            "split": self.split_name,
            "frames": self.indices.tolist(),
            "without_likelihood": self.without_likelihood,
            "calibration": [DRAWS, SAMPLES, SEED],
        }
        return hashlib.sha256(json.dumps(options, sort_keys=True).encode()).hexdigest()[:16]

    def run(self, name: str, style: Style) -> tuple[ModelScores, Fits, Mapping[str, Tensor]]:
        """Fit and score all frames.

        Args:
            name: How tables call the model, and the name of its folder.
            style: How progress is shown.

        Returns:
            The scores, what they were computed from, and the pictures of the report's frames by name.

        Raises:
            lipflow_core.errors.NumericalError: If no frame could be scored since the model makes NaN, naming the part.
            lipflow_core.errors.CaptureError: If a frame is damaged or holds NaN.
        """
        candidate, indices, fitting = self.candidate, self.indices, self.candidate.spec.fitting
        metrics = build_metrics(candidate.avatar, candidate.spec.evaluation.metrics, candidate.blueprint.view)
        variants = self._variants()
        gathered = _Gathered()
        generator = torch.Generator(candidate.avatar.device).manual_seed(SEED)
        shown = set(indices[spread(candidate.spec.evaluation.report_frames, len(indices))].tolist())
        with progress(self._fits(variants), f"fit {name}", "frame", style=style) as bar:
            chosen = self._choose(variants, next(iter(metrics.values())), bar)
            for chunk in np.array_split(indices, -(-len(indices) // (2 * fitting.batch))):
                frame = load_frames(self.split, chunk, self._observations).to(candidate.avatar.device)
                rows = [row for row, index in enumerate(chunk.tolist()) if index in shown]
                self._batch(gathered, frame, variants, chosen, metrics, rows, generator, bar)
        self._check_any(gathered.failures)
        fits = Fits.join(gathered.parts)
        return self._scores(name, metrics, fits, gathered, chosen), fits, gathered.pictures

    @cached_property
    def _observations(self) -> tuple[str, ...]:
        """What has to be loaded: for fitting, scoring, encoding, and calibration, and what the report shows."""
        blueprint, avatar = self.candidate.blueprint, self.candidate.avatar
        calibrated = avatar.driving is not None and "driving" in avatar.fitting_prior.planned.needs
        names = (
            *blueprint.fitted_observations,
            *blueprint.scored_observations,
            avatar.encoder.modality,
            *((avatar.driving.modality,) if calibrated else ()),
            blueprint.view,
        )
        return tuple(dict.fromkeys(names))

    def _variants(self) -> dict[Code, Fitting]:
        """The fits to make: as the spec says, and without the objectives that ask the prior."""
        fitting = self.candidate.spec.fitting
        variants = {FITTED: fitting}
        planned = self.candidate.blueprint.objectives
        kept = tuple(term.part for term in planned if "prior" not in term.plan.needs)
        if self.without_likelihood and 0 < len(kept) < len(planned):
            variants[WITHOUT] = fitting.model_copy(update={"objectives": kept})
        return variants

    def _fits(self, variants: Mapping[Code, Fitting]) -> int:
        """Fits of one frame that will be made, those of grid searches included."""
        frames = len(self.indices)
        total = frames * len(variants)
        for name, fitting in variants.items():
            if fitting.grid is not None:
                weights = 1 if name == WITHOUT else len(fitting.grid.latent_weight)
                rates = len(fitting.grid.learning_rate) if fitting.has_learning_rate else 1
                total += min(fitting.grid.frames, frames) * rates * weights
        return total

    def _choose(self, variants: Mapping[Code, Fitting], metric: Metric, bar: Progress) -> dict[Code, GridChoice]:
        """Search each variant's grid, if it has one, on a batch spread over the evaluated frames."""
        chosen = {}
        for name, fitting in variants.items():
            if fitting.grid is not None:
                batch = self.indices[spread(fitting.grid.frames, len(self.indices))]
                frame = load_frames(self.split, batch, self._observations)
                chosen[name] = choose(self.candidate.avatar, frame, fitting, metric=metric, progress=bar)
        return chosen

    def _batch(
        self,
        gathered: _Gathered,
        frame: Frame,
        variants: Mapping[Code, Fitting],
        chosen: Mapping[Code, GridChoice],
        metrics: Mapping[str, Metric],
        shown: Sequence[int],
        generator: torch.Generator,
        bar: Progress,
    ) -> None:
        """Fit and score one batch; `shown` are the rows of which pictures are kept, `generator` ranks."""
        avatar = self.candidate.avatar
        begun = time.perf_counter()
        fits = {
            name: fit(avatar, frame, fitting, chosen=chosen.get(name), progress=bar)
            for name, fitting in variants.items()
        }
        gathered.seconds += time.perf_counter() - begun
        with frozen(avatar), torch.no_grad():
            posterior = avatar.encode(frame)
            codes: dict[Code, Tensor] = {"posterior": posterior.mean, "start": fits[FITTED].starts}
            codes |= {name: result.codes for name, result in fits.items()}
            scores = {}
            for name, code in codes.items():
                scores[name], found = score(avatar, code, frame, metrics)
                for row, part in sorted(found.items()):
                    failure = Failure(segment=frame.segments[row], number=int(frame.numbers[row]), part=part)
                    gathered.failures.setdefault(name, []).append(failure)
            ranks = None
            if self._not_calibrated is None:
                prior = avatar.fitting_prior
                driving = avatar.drive(frame) if "driving" in prior.planned.needs else None
                ranks = rank(prior.condition(driving), posterior, generator)
            gathered.pictures |= dict(self._pictures(frame, codes, shown))
        gathered.parts.append(Fits(codes["posterior"], fits, scores, ranks))

    @property
    def _not_calibrated(self) -> str | None:
        """Why Q's codes tell nothing of the prior that fits; None if they do."""
        avatar = self.candidate.avatar
        if avatar.encoder is avatar.driving and "driving" in avatar.fitting_prior.planned.needs:
            return "Q is the driving encoder itself, so that the prior is asked about codes that it was made from"
        return None

    def _pictures(
        self, frame: Frame, codes: Mapping[Code, Tensor], rows: Sequence[int]
    ) -> Iterator[tuple[str, Tensor]]:
        """What frames are compared with, where (the mask), what fitting saw of them, and what codes look like."""
        if not rows:
            return
        blueprint = self.candidate.blueprint
        frame = frame.rows(torch.tensor(rows, device=frame.numbers.device))
        codes = {name: code[list(rows)] for name, code in codes.items()}
        view = frame[blueprint.view]
        stems = [file_stem(*named) for named in zip(frame.segments, frame.numbers.tolist(), strict=True)]
        for row, stem in enumerate(stems):
            yield f"{stem}.target", strip(view.images[row])
            yield f"{stem}.mask", strip(view.mask[row][:, None])
            for name in blueprint.fitted_observations:
                picture = None if name == blueprint.view else observed_picture(frame, name, row)
                if picture is not None:
                    yield f"{stem}.seen-{name}", picture
        for name, code in codes.items():
            pictures, found = draw(self.candidate.avatar, code, view.camera)
            yield from ((f"{stem}.{name}", strip(pictures[row])) for row, stem in enumerate(stems) if row not in found)

    def _check_any(self, failures: Mapping[Code, Sequence[Failure]]) -> None:
        """Raise a NumericalError if some kind of code could not be scored on any frame."""
        for code, found in failures.items():
            if len(found) == len(self.indices):
                first = found[0]
                where = f"segment {first.segment}, frame {first.number}"
                raise not_finite(
                    f"{self.candidate.spec.name}: {CODES[code]}, no frame could be scored: the {first.part} of {where}"
                )

    def _scores(
        self,
        name: str,
        metrics: Mapping[str, Metric],
        fits: Fits,
        gathered: _Gathered,
        chosen: Mapping[Code, GridChoice],
    ) -> ModelScores:
        candidate, spec = self.candidate, self.candidate.spec
        sound = fits.posterior[fits.posterior.isfinite().all(dim=1)]
        spread_of_codes = (sound - sound.mean(dim=0)).square().sum(dim=1).mean().sqrt()
        driving = spec.driving.name if spec.driving is not None else None
        return ModelScores(
            name=name,
            system=spec.name,
            preset=spec.preset,
            seed=spec.seed,
            prior=spec.prior.name,
            fitting_prior=(spec.fitting.prior or spec.prior).name,
            driving=driving,
            flow=None if spec.flow is None else spec.flow.name,
            overrides=candidate.overrides,
            model="" if candidate.path is None else str(candidate.path),
            identity=self.identity,
            folder=name,
            metrics={metric: Column.of(metric, built.config) for metric, built in metrics.items()},
            frames=tuple((self.split.segments[i], int(self.split.numbers[i])) for i in self.indices),
            scores={
                code: {metric: tuple(values.tolist()) for metric, values in columns.items()}
                for code, columns in fits.scores.items()
            },
            distance={code: tuple((fit.distance / spread_of_codes).tolist()) for code, fit in fits.fits.items()},
            steps={code: tuple(fit.steps.tolist()) for code, fit in fits.fits.items()},
            nonfinite={code: int(fit.nonfinite.sum()) for code, fit in fits.fits.items()},
            unseen={code: int(fit.unseen.sum()) for code, fit in fits.fits.items()},
            failures={code: tuple(found) for code, found in gathered.failures.items()},
            grid=dict(chosen),
            calibration=None if fits.ranks is None else calibration(fits.ranks),
            not_calibrated=self._not_calibrated,
            seconds=round(gathered.seconds, 3),
            provenance=Provenance(
                capture=self.capture.identity,
                capture_name=capture_name(spec.capture.as_data()),
                device=str(candidate.avatar.device),
                threads=torch.get_num_threads(),
                parameters=sum(parameter.numel() for parameter in candidate.avatar.parameters()),
            ),
        )


def capture_name(options: Mapping[str, Any]) -> str:
    """Name a capture for tables: its type, and its subject or folder if its options name one.

    Example:
        >>> capture_name({"type": "studio", "subject": "p01"})
        'studio p01'
    """
    named = next((str(options[key]) for key in ("subject", "path") if options.get(key)), "")
    return f"{options['type']} {Path(named).name}".strip()
