"""Evaluating trained models: fit their codes to held-out frames, score them, and compare."""

from lipflow_core.evaluation.evaluate import evaluate
from lipflow_core.evaluation.result import Evaluation, ModelScores

__all__ = ["Evaluation", "ModelScores", "evaluate"]
