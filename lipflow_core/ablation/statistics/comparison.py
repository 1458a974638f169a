"""Compare two systems: within each subject and seed, and over subjects."""

from __future__ import annotations

import numpy as np
from pydantic import computed_field

from lipflow_core.ablation.statistics.components import Components
from lipflow_core.ablation.statistics.scores import Scores
from lipflow_core.ablation.statistics.sign_flips import sign_flip
from lipflow_core.differences import LEVEL, Difference, Estimate
from lipflow_core.results import Result
from lipflow_core.tables import counted


class RunDifference(Difference):
    """The difference of two systems for one subject and seed: paired by frame, clustered by sequence."""

    subject: str
    """Name of the person."""
    seed: str
    """Seed of both training runs."""


class SubjectDifference(Estimate):
    """The difference of two systems for one subject: seeds averaged within each sequence, error over sequences."""

    subject: str
    """Name of the person."""
    seeds: int
    """Number of seeds that were averaged."""
    sequences: int
    """Number of sequences."""


class Comparison(Result):
    """One system's scores less another's, on one task and by one metric."""

    system: str
    """Name of the system."""
    other: str
    """Name of the system that it is compared with."""
    task: str
    """Name of the task."""
    metric: str
    """Name of the metric."""
    runs: tuple[RunDifference, ...]
    """The difference for each subject and seed."""
    subjects: tuple[SubjectDifference, ...]
    """The difference for each subject."""
    overall: Estimate
    """The difference over subjects; of a single subject over its sequences (see `cautions`)."""
    components: Components
    """Variance of the difference by subject, seed, sequence and frame."""
    unpaired: int
    """Number of scores without a partner: the other system has no such subject, seed or frame."""

    @property
    def seeds(self) -> tuple[str, ...]:
        """The seeds of all subjects."""
        return tuple(dict.fromkeys(run.seed for run in self.runs))

    @property
    def frames(self) -> int:
        """Number of pairs of frames, those of different seeds counted each."""
        return sum(run.frames for run in self.runs)

    def sign_flip(self, null: float = 0.0) -> float:
        """Test by exact sign flips of the subjects' differences whether they are symmetric about `null`."""
        return float(sign_flip(np.array([one.mean for one in self.subjects]) - null))

    @computed_field
    @property
    def basis(self) -> str:
        """Say in a few words what the interval is over, such as "4 subjects, 2 seeds"."""
        first = self.subjects[0] if len(self.subjects) == 1 else None
        over = f"{counted(first.sequences, 'sequence')} of {first.subject}" if first else ""
        return f"{over or counted(len(self.subjects), 'subject')}, {counted(len(self.seeds), 'seed')}"

    @computed_field
    @property
    def cautions(self) -> tuple[str, ...]:
        """Say what can't be concluded and what was left out, a sentence for each."""
        told = []
        if not self.subjects:
            told.append(f"Nothing can be concluded: no frame of {self.task} has {self.metric} of both systems.")
        elif len(self.subjects) == 1:
            only = self.subjects[0]
            over = f"the interval is over the {only.sequences} sequences of {only.subject}"
            none = f"{only.subject} has one sequence, whose frames resemble each other, so that there is no interval"
            told.append(
                f"One subject: {over if only.sequences > 1 else none}; how the systems would compare on other people "
                "can't be concluded."
            )
        elif (least := 2.0 ** (1 - len(self.subjects))) > 1 - LEVEL:
            told.append(
                f"{len(self.subjects)} subjects: a sign-flip test can't give a p below {least:g}, so that the verdict "
                "rests on Student's t, which takes the subjects' differences as normally distributed."
            )
        if len({one.seeds for one in self.subjects}) > 1:
            told.append("Some subjects have fewer seeds than others; each subject counts alike.")
        if self.subjects and max(one.seeds for one in self.subjects) == 1:
            told.append(
                f"One seed ({', '.join(self.seeds)}): how far another training run of the same systems would differ "
                "can't be concluded."
            )
        elif len(self.subjects) == 1:
            told.append("The interval holds for these training runs; further seeds may differ by more.")
        if left_out := sum(run.left_out for run in self.runs):
            told.append(f"{counted(left_out, 'pair')} of frames left out because one of the two scores is not finite.")
        if self.unpaired:
            told.append(
                f"{counted(self.unpaired, 'score')} left out because the other system has no such run or frame."
            )
        return tuple(told)


def compare(scores: Scores, system: str, other: str, task: str, metric: str) -> Comparison:
    """Compare two systems.

    Within a subject and seed scores are paired by frame, and the error is over sequences (`lipflow_core.differences`).
    Then seeds are averaged within each subject, and Student's t is over the subjects' means: trainings and sequences of
    one person do not count as further people. With one subject, Student's t is over its sequences.

    Args:
        scores: The scores of the grid.
        system: Name of the system.
        other: Name of the system whose scores are taken off.
        task: Name of the task.
        metric: Name of the metric.
    """
    pairs = scores.pairs(system, other, task, metric)
    runs, subjects = [], []
    finite = pairs.finite()
    sequences = finite.mean_over("seed").mean_over("frame")
    for subject, name in enumerate(pairs.names["subject"].tolist()):
        of_subject = pairs.where(pairs.levels["subject"] == subject)
        for seed in np.unique(of_subject.levels["seed"]):
            run = of_subject.where(of_subject.levels["seed"] == seed)
            named = {"subject": name, "seed": str(pairs.names["seed"][seed])}
            runs.append(RunDifference.between(run.difference, run.levels["sequence"], **named))
        means = sequences.difference[sequences.levels["subject"] == subject]
        if len(means):
            trained = np.unique(finite.levels["seed"][finite.levels["subject"] == subject])
            counts = {"seeds": len(trained), "sequences": len(means)}
            subjects.append(SubjectDifference.over(means, subject=name, **counts))
    only = subjects[0] if len(subjects) == 1 else None
    return Comparison(
        system=system,
        other=other,
        task=task,
        metric=metric,
        runs=tuple(runs),
        subjects=tuple(subjects),
        overall=Estimate.over([one.mean for one in subjects]) if only is None else Estimate.over(sequences.difference),
        components=Components.of(finite),
        unpaired=pairs.unpaired,
    )
