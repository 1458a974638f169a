"""Trains models in stages, with early stopping, checkpoints and exact resume."""

from lipflow_core.training.state import StageSummary
from lipflow_core.training.trainer import TrainingResult, train

__all__ = ["StageSummary", "TrainingResult", "train"]
