"""Writes and reads the folder of an evaluation.

```
OUT/
  evaluation.json         all models' scores, means and per frame; differences to the best; columns, definitions
  scores.csv              the same in long form: a row for each model, frame, code and metric
  MODEL/
    result.json           this model's scores; written last, so the model is done if it exists
    fits.safetensors      codes, poses and loss curves
    pictures/FRAME.KIND.png
    spec.yaml, lock.json, metrics.jsonl   copied from the model's folder
```
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from pathlib import Path

from safetensors.torch import save
from torch import Tensor

from lipflow_core.errors import ResultError, UsageError
from lipflow_core.evaluation.candidate import Candidate
from lipflow_core.evaluation.model_evaluation import Fits
from lipflow_core.evaluation.result import OPTIONS, Evaluation, ModelScores
from lipflow_core.evaluation.text import long_csv
from lipflow_core.file_names import check_file_name
from lipflow_core.model_lock import LOCK, SPEC
from lipflow_core.pictures import png
from lipflow_core.specs import dump_spec
from lipflow_core.storage import write_atomically, written_folder

EVALUATION = "evaluation.json"
SCORES = "scores.csv"
RESULT = "result.json"
FITS = "fits.safetensors"
PICTURES = "pictures"
_AGAIN = "Run lipflow-core evaluate again."


def finished(folder: Path, identity: str) -> ModelScores | None:
    """Read the scores that an earlier run of this identity wrote; None if there are none, or they can't be read."""
    try:
        scores = ModelScores.read(folder / RESULT, _AGAIN)
    except ResultError:
        return None
    return scores if scores.identity == identity else None


def write_model(
    folder: Path, candidate: Candidate, scores: ModelScores, fits: Fits, pictures: Mapping[str, Tensor]
) -> None:
    """Write a model's folder, completely or not at all; it replaces an earlier one.

    Raises:
        lipflow_core.errors.StorageError: If it can't be written.
    """
    tensors = {"posterior.codes": fits.posterior.cpu().contiguous(), "start.codes": fits.starts.cpu().clone()}
    for code, result in fits.fits.items():
        tensors |= {f"{code}.{name}": tensor for name, tensor in result.as_tensors().items()}
    with written_folder(folder, within=folder.parent) as new:
        (new / PICTURES).mkdir()
        for name, picture in pictures.items():
            (new / PICTURES / f"{name}.png").write_bytes(png(picture))
        # Not by safetensors' own save_file, whose errors are not the system's.
        (new / FITS).write_bytes(save(tensors))
        if candidate.path is None:
            (new / SPEC).write_text(dump_spec(candidate.spec), encoding="utf-8")
        else:
            for name in (SPEC, LOCK, "metrics.jsonl"):
                if (candidate.path / name).is_file():
                    shutil.copyfile(candidate.path / name, new / name)
        (new / RESULT).write_text(scores.json_text(), encoding="utf-8")


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write `evaluation.json` and `scores.csv`."""
    write_atomically(folder / SCORES, long_csv(evaluation, OPTIONS), within=folder)
    write_atomically(folder / EVALUATION, evaluation.json_text(), within=folder)


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation's folder.

    Raises:
        lipflow_core.errors.UsageError: If it holds none.
        lipflow_core.errors.ResultError: If it holds one that is damaged or of another version.
    """
    path = folder / EVALUATION
    check_file_name(path, UsageError)
    if not path.exists():
        raise UsageError(
            f"{folder} holds no evaluation: there is no {EVALUATION}",
            hint=f"make one with: lipflow-core evaluate MODEL… --out {folder}",
        )
    return Evaluation.read(path, _AGAIN)
