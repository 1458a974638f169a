"""Scoring fitted codes: metrics, the evaluation of whole models, and its table.

The public names are loaded on first use: fitting needs the metrics, and the evaluation needs fitting.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

_PUBLIC = {
    "DEFINITIONS": "lipflow_core.evaluation.metrics",
    "Evaluation": "lipflow_core.evaluation.result",
    "ModelScores": "lipflow_core.evaluation.result",
    "Scores": "lipflow_core.evaluation.scores",
    "evaluate": "lipflow_core.evaluation.run",
    "psnr": "lipflow_core.evaluation.metrics",
    "score": "lipflow_core.evaluation.scores",
    "ssim": "lipflow_core.evaluation.metrics",
}

__all__ = ["DEFINITIONS", "Evaluation", "ModelScores", "Scores", "evaluate", "psnr", "score", "ssim"]

if TYPE_CHECKING:
    from lipflow_core.evaluation.metrics import DEFINITIONS, psnr, ssim
    from lipflow_core.evaluation.result import Evaluation, ModelScores
    from lipflow_core.evaluation.run import evaluate
    from lipflow_core.evaluation.scores import Scores, score


def __getattr__(name: str) -> Any:
    if name in _PUBLIC:
        return getattr(importlib.import_module(_PUBLIC[name]), name)
    raise AttributeError(f"module 'lipflow_core.evaluation' has no attribute '{name}'")
