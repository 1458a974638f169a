"""Evaluates one model: loads, fits and scores its frames."""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lipflow_core.avatar import frozen
from lipflow_core.errors import SpecError
from lipflow_core.evaluation.calibration import DRAWS, SAMPLES, SEED, Ranks, calibration, rank
from lipflow_core.evaluation.candidate import Candidate
from lipflow_core.evaluation.result import CODES, Code, Column, Failure, ModelScores, Provenance
from lipflow_core.fitting.fit import choose, first_codes, fit, visible_pictures
from lipflow_core.fitting.grid import frames_to_choose_on
from lipflow_core.fitting.result import FittingResult, GridChoice
from lipflow_core.interfaces import Capture, Metric, Split
from lipflow_core.observing import draw, not_finite
from lipflow_core.pictures import observed_picture, strip
from lipflow_core.plans import Needs
from lipflow_core.progress import Progress, Style, progress
from lipflow_core.records import Frame, Record
from lipflow_core.scoring import build_metrics, neighbouring, score
from lipflow_core.selection import file_stem, spread
from lipflow_core.sequences import batches_of_runs, runs_of
from lipflow_core.specs.model import Fitting
from lipflow_core.splits import load_frames
from lipflow_core.version import __version__

FITTED: Code = "fitted"
WITHOUT: Code = "fitted-without-likelihood"


@dataclass(frozen=True)
class Fits(Record):
    """Holds what was computed for N frames of a model.

    Args:
        posterior: (N, D) Q's codes.
        starts: (N, D) codes that fitting starts from.
        fits: Kind of fit → its result.
        scores: Kind of code → metric → (N,) scores.
        ranks: Ranks of Q's codes among draws of the prior; None if the prior's calibration is not tested.
    """

    posterior: Tensor
    starts: Tensor
    fits: Mapping[Code, FittingResult]
    scores: Mapping[Code, Mapping[str, Tensor]]
    ranks: Ranks | None


@dataclass
class _Gathered:
    """Collects results while the frames are evaluated batch by batch.

    Args:
        parts: Results of each batch.
        failures: Kind of code → the frames that could not be scored.
        pictures: Name such as "EXP_smile-000012.fitted" → picture (C, H, W).
        seconds: Wall-clock time of the fits.
    """

    parts: list[Fits] = field(default_factory=list)
    failures: dict[Code, list[Failure]] = field(default_factory=dict)
    pictures: dict[str, Tensor] = field(default_factory=dict)
    seconds: float = 0.0


@dataclass(frozen=True)
class ModelEvaluation:
    """Evaluates one model on chosen frames.

    Args:
        candidate: Model to evaluate.
        capture: Capture that the frames come from.
        split: Split of the capture.
        split_name: Name of the split.
        indices: (N,) positions of the frames within the split.
        without_likelihood: Whether to fit a second time, without the objectives that ask the prior.
        fitted: Fits of these frames that were made before, each with its choice of hyper-parameters; empty if nothing
            is fitted. None to fit now.
    """

    candidate: Candidate
    capture: Capture
    split: Split
    split_name: str
    indices: np.ndarray
    without_likelihood: bool = False
    fitted: Mapping[Code, FittingResult] | None = None

    @cached_property
    def identity(self) -> str:
        """Hash of everything that the scores depend on: weights, parts, options, frames and version of lipflow-core."""
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
            name: Name of the model in tables, and of its folder.
            style: Style of progress.

        Returns:
            The scores, the fits that they were computed from, and the pictures of the report's frames by name.

        Raises:
            lipflow_core.errors.SpecError: If `evaluation.codes` names a fit without likelihood and there is none, or if
                a temporal prior is to fit frames of which none follows another.
            lipflow_core.errors.NumericalError: If no frame could be scored because a part of the model, which the
                message names, gives NaN.
            lipflow_core.errors.CaptureError: If a frame is damaged or holds NaN.
        """
        candidate, indices, fitting = self.candidate, self.indices, self.candidate.spec.fitting
        metrics = build_metrics(candidate.avatar, candidate.spec.evaluation.metrics, candidate.blueprint.view)
        variants = self._variants()
        if self._not_fitted_without is not None and WITHOUT in candidate.spec.evaluation.codes:
            raise SpecError(
                f"{candidate.spec.name}: evaluation.codes names {WITHOUT}, but {self._not_fitted_without}",
                "Name other codes, such as fitted.",
            )
        along = {metric: built for metric, built in metrics.items() if Needs.of([built.planned]).neighbours}
        alone = {metric: built for metric, built in metrics.items() if metric not in along}
        gathered = _Gathered()
        generator = torch.Generator(candidate.avatar.device).manual_seed(SEED)
        shown = set(indices[spread(candidate.spec.evaluation.report_frames, len(indices))].tolist())
        with progress(len(self.indices) * len(variants), f"fit {name}", "frame", style=style) as bar:
            chosen = self._choose(variants, next(iter(metrics.values())), bar)
            chunks = self._chunks(variants)
            for part in chunks:
                frame = candidate.avatar.bring(load_frames(self.split, indices[part], self._observations))
                begun = time.perf_counter()
                fits = self._fit(frame, torch.from_numpy(part), variants, chosen, bar)
                gathered.seconds += math.nan if self.fitted is not None else time.perf_counter() - begun
                # A run that was fitted together may be longer than what is scored together.
                for rows in torch.arange(len(part), device=frame.numbers.device).split(2 * fitting.batch):
                    some = {name: result.rows(rows) for name, result in fits.items()}
                    seen = [row for row, at in enumerate(rows.tolist()) if int(indices[part[at]]) in shown]
                    self._batch(gathered, frame.rows(rows), some, alone, seen, generator)
        self._check_any(gathered.failures)
        fits = Fits.join(gathered.parts).rows(torch.from_numpy(np.concatenate(chunks).argsort()))
        if along:
            fits = self._along_sequences(fits, along)
        return self._scores(name, metrics, fits, gathered, chosen), fits, gathered.pictures

    @cached_property
    def _observations(self) -> tuple[str, ...]:
        """Observations to load: those of fitting, scoring, Q, calibration, and the view that the report shows."""
        blueprint, avatar = self.candidate.blueprint, self.candidate.avatar
        calibrated = avatar.driving is not None and "driving" in avatar.fitting_prior.planned.needs
        names = (
            *self._looked_at,
            *blueprint.scored_observations,
            avatar.encoder.modality,
            *((avatar.driving.modality,) if calibrated else ()),
            blueprint.view,
        )
        return tuple(dict.fromkeys(names))

    @property
    def _looked_at(self) -> tuple[str, ...]:
        """The observations that fitting sees, or the start of a fit alone."""
        blueprint = self.candidate.blueprint
        return blueprint.fitted_observations if self.fitted or self._variants() else blueprint.started_observations

    def _variants(self) -> dict[Code, Fitting]:
        """List the kinds of fits: that of the spec, and one without the objectives that ask the prior."""
        if self.fitted is not None:
            return {}
        fitting, codes = self.candidate.spec.fitting, self.candidate.spec.evaluation.codes
        variants = {FITTED: fitting} if FITTED in codes else {}
        planned = self.candidate.blueprint.objectives
        kept = tuple(term.part for term in planned if "prior" not in term.plan.needs)
        if (self.without_likelihood or WITHOUT in codes) and 0 < len(kept) < len(planned):
            variants[WITHOUT] = fitting.model_copy(update={"objectives": kept})
        return variants

    @property
    def _not_fitted_without(self) -> str | None:
        """Reason why a fit without likelihood that was asked for is not made; None otherwise."""
        asked = self.without_likelihood or WITHOUT in self.candidate.spec.evaluation.codes
        if not asked or self.fitted is not None or WITHOUT in self._variants():
            return None
        return "fitting has no objectives that ask the prior and others beside them"

    def _chunks(self, variants: Mapping[Code, Fitting]) -> list[np.ndarray]:
        """Divide the frames into batches that are fitted together; with a temporal prior a run stays whole."""
        size, count = 2 * self.candidate.spec.fitting.batch, len(self.indices)
        if not any(fitting.temporal for fitting in variants.values()):
            return np.array_split(np.arange(count), -(-count // size))
        segments, numbers = [self.split.segments[index] for index in self.indices], self.split.numbers[self.indices]
        if 1 < count == len(runs_of(segments, numbers)):
            raise SpecError(
                f"{self.candidate.spec.name}: fitting.temporal fits frames together that follow each other in a "
                f"segment, but none of the {count} frames to score does",
                "Set evaluation.whole_segments=true or name frames that follow each other, or set "
                "fitting.temporal=null.",
            )
        return batches_of_runs(segments, numbers, size)

    def _choose(self, variants: Mapping[Code, Fitting], metric: Metric, bar: Progress) -> dict[Code, GridChoice]:
        """Search each variant's grid, if it has one."""
        chosen = {name: result.grid for name, result in (self.fitted or {}).items() if result.grid is not None}
        for name, fitting in variants.items():
            if fitting.grid is not None:
                split, batch = frames_to_choose_on(fitting.grid, self.split, self.indices, lambda: self.capture)
                frame = load_frames(split, batch, self._observations)
                chosen[name] = choose(self.candidate.avatar, frame, fitting, metric=metric, progress=bar)
        return chosen

    def _fit(
        self,
        frame: Frame,
        part: Tensor,
        variants: Mapping[Code, Fitting],
        chosen: Mapping[Code, GridChoice],
        bar: Progress,
    ) -> dict[Code, FittingResult]:
        """Fit one batch, or take what was fitted before; `part` are its positions among all frames."""
        avatar = self.candidate.avatar
        if self.fitted is not None:
            return {name: result.rows(part).to(avatar.device) for name, result in self.fitted.items()}
        return {
            name: fit(avatar, frame, fitting, chosen=chosen.get(name), progress=bar)
            for name, fitting in variants.items()
        }

    def _batch(
        self,
        gathered: _Gathered,
        frame: Frame,
        fits: Mapping[Code, FittingResult],
        metrics: Mapping[str, Metric],
        shown: Sequence[int],
        generator: torch.Generator,
    ) -> None:
        """Score one batch; pictures of the rows `shown` are kept, and `generator` draws for the ranks."""
        avatar = self.candidate.avatar
        with frozen(avatar), torch.no_grad():
            posterior, spec = avatar.encode(frame), self.candidate.spec
            first = next(iter(fits.values()), None)
            start = first_codes(avatar, frame, spec.fitting) if first is None else first.starts
            made: dict[Code, Tensor] = {"posterior": posterior.mean, "start": start}
            codes = {name: code for name, code in made.items() if name in spec.evaluation.codes}
            codes |= {name: result.codes for name, result in fits.items()}
            poses = _poses(fits)
            scores = {}
            for name, code in codes.items():
                scores[name], found = score(avatar, code, frame, metrics, pose=poses.get(name))
                for row, part in sorted(found.items()):
                    failure = Failure(segment=frame.segments[row], number=int(frame.numbers[row]), part=part)
                    gathered.failures.setdefault(name, []).append(failure)
            ranks = None
            if self._not_calibrated is None:
                prior = avatar.fitting_prior
                driving = avatar.drive(frame) if "driving" in prior.planned.needs else None
                ranks = rank(prior.condition(driving), posterior, generator)
            gathered.pictures |= dict(self._pictures(frame, codes, shown))
        gathered.parts.append(Fits(posterior.mean, start, fits, scores, ranks))

    def _along_sequences(self, fits: Fits, metrics: Mapping[str, Metric]) -> Fits:
        """Score by the metrics that need the frames before and after, once all frames have codes."""
        avatar, spec = self.candidate.avatar, self.candidate.spec
        segments = [self.split.segments[index] for index in self.indices]
        numbers = [int(self.split.numbers[index]) for index in self.indices]
        targets = Needs.of(metric.planned for metric in metrics.values()).targets
        made = {"posterior": fits.posterior, "start": fits.starts}
        made |= {name: result.codes for name, result in fits.fits.items()}
        scores, poses = {name: dict(columns) for name, columns in fits.scores.items()}, _poses(fits.fits)
        for name, columns in scores.items():
            pose = poses.get(name)
            around, parts = neighbouring(made[name], segments, numbers), []
            for rows in torch.arange(len(numbers)).split(2 * spec.fitting.batch):
                chunk = self.indices[rows.numpy()]
                seen = Frame(tuple(segments[row] for row in rows), torch.tensor([numbers[row] for row in rows]), {})
                if targets:
                    seen = load_frames(self.split, chunk, targets)
                seen, code = seen.to(avatar.device), made[name][rows]
                with frozen(avatar):
                    moved = None if pose is None else pose[rows]
                    parts.append(score(avatar, code, seen, metrics, neighbours=around[rows], pose=moved)[0])
            columns |= {metric: torch.cat([part[metric] for part in parts]) for metric in metrics}
        return replace(fits, scores=scores)

    @property
    def _not_calibrated(self) -> str | None:
        """Reason why Q's codes can't test the prior's calibration; None if they can."""
        avatar = self.candidate.avatar
        if avatar.encoder is avatar.driving and "driving" in avatar.fitting_prior.planned.needs:
            return "Q is the driving encoder itself: the prior would be tested on the codes that it is built from"
        return None

    def _pictures(
        self, frame: Frame, codes: Mapping[Code, Tensor], rows: Sequence[int]
    ) -> Iterator[tuple[str, Tensor]]:
        """Yield pictures of frames: target, mask, the observations that were fitted, and the decoded codes."""
        if not rows:
            return
        blueprint = self.candidate.blueprint
        frame = frame.rows(torch.tensor(rows, device=frame.numbers.device))
        codes = {name: code[list(rows)] for name, code in codes.items()}
        avatar, fitting = self.candidate.avatar, self.candidate.spec.fitting
        hidden = visible_pictures(avatar, frame, fitting) if self.fitted or self._variants() else {}
        view = frame[blueprint.view]
        stems = [file_stem(*named) for named in zip(frame.segments, frame.numbers.tolist(), strict=True)]
        for row, stem in enumerate(stems):
            yield f"{stem}.target", strip(view.images[row])
            yield f"{stem}.mask", strip(view.mask[row][:, None])
            for name in self._looked_at:
                picture = None if name == blueprint.view else observed_picture(frame, name, row)
                if name in hidden:
                    picture = strip(hidden[name][row])
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
                code: {metric: tuple(columns[metric].tolist()) for metric in metrics}
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
            not_fitted_without=self._not_fitted_without,
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


def _poses(fits: Mapping[Code, FittingResult]) -> dict[Code, Tensor | None]:
    """Map each kind of code → how far the driving cameras are off, (N, 3, 4); nothing for codes without a fit."""
    first = next(iter(fits.values()), None)
    poses = {name: result.residual for name, result in fits.items()}
    return poses if first is None else {**poses, "start": first.start_residual}
