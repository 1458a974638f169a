"""What an evaluation leaves on disk.

```
OUT/
  evaluation.json         all models' scores, means and per frame; definitions, versions
  MODEL/
    result.json           this model's scores; its presence means done
    frames.csv            a line per frame
    fits.safetensors      codes, poses and loss curves
    pictures/FRAME.KIND.png
    spec.yaml, lock.json, metrics.jsonl   copied from the model's folder
```
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from safetensors.torch import save
from torch import Tensor

from lipflow_core.errors import LipflowError, UsageError
from lipflow_core.evaluation.model_run import Fits, ModelRun
from lipflow_core.evaluation.result import Evaluation, ModelScores
from lipflow_core.pictures import png
from lipflow_core.storage import write_atomically, written_folder

EVALUATION = "evaluation.json"
RESULT = "result.json"
FRAMES = "frames.csv"
FITS = "fits.safetensors"
PICTURES = "pictures"
COPIED = ("spec.yaml", "lock.json", "metrics.jsonl")


def finished(folder: Path, identity: str) -> ModelScores | None:
    """A model's scores from an earlier run of this identity; None if there are none or they can't be read."""
    try:
        scores = ModelScores.from_data(json.loads((folder / RESULT).read_text(encoding="utf-8")))
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return scores if scores.identity == identity else None


def write_model(folder: Path, run: ModelRun, scores: ModelScores, fits: Fits) -> None:
    """Write a model's folder, whole or not at all, in place of an earlier one.

    Raises:
        lipflow_core.errors.StorageError: If it can't be written.
    """
    with written_folder(folder, within=folder.parent) as new:
        (new / PICTURES).mkdir()
        for name, picture in fits.pictures.items():
            (new / PICTURES / f"{name}.png").write_bytes(png(picture))
        # Not by safetensors' own save_file, whose errors are not the system's.
        (new / FITS).write_bytes(save(dict(_tensors(fits))))
        (new / FRAMES).write_text(scores.csv(), encoding="utf-8")
        for name in COPIED:
            if (run.path / name).is_file():
                shutil.copyfile(run.path / name, new / name)
        (new / RESULT).write_text(as_json(scores.as_data()), encoding="utf-8")


def write_evaluation(folder: Path, evaluation: Evaluation) -> None:
    """Write `evaluation.json`."""
    write_atomically(folder / EVALUATION, as_json(evaluation.as_data()), within=folder)


def read_evaluation(folder: Path) -> Evaluation:
    """Read an evaluation's folder.

    Raises:
        UsageError: If it holds none.
        LipflowError: If it holds one that can't be read.
    """
    path = folder / EVALUATION
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.get("format") != 1:
            raise ValueError(f"format {data.get('format')!r} is not 1")
        return Evaluation.from_data(data)
    except FileNotFoundError:
        raise UsageError(
            f"{folder} holds no evaluation: there is no {EVALUATION}",
            hint=f"make one with: lipflow-core evaluate MODEL… --out {folder}",
        ) from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise LipflowError(f"{path} can't be read: {error}", hint="run lipflow-core evaluate again") from error


def as_json(data: Any) -> str:
    """JSON as all of an evaluation's files are written."""
    return json.dumps(data, indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def _tensors(fits: Fits) -> Iterator[tuple[str, Tensor]]:
    """Name → tensor of everything in `fits.safetensors`, on the CPU."""
    yield "posterior.codes", fits.posterior.cpu().contiguous()
    for variant, result in fits.fits.items():
        for name, tensor in result.as_tensors().items():
            yield f"{variant}.{name}", tensor
