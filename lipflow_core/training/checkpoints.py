"""Writes and reads checkpoints: weights, optimizer and state in one safetensors file, complete or absent."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.optim import Optimizer

from lipflow_core.errors import ModelError
from lipflow_core.storage import check_regular, write_atomically
from lipflow_core.training.state import RunState
from lipflow_core.weights import weights_of

KEPT = 2
"""Number of checkpoints kept beside the best weights of each stage: the last, and one to fall back to."""


@dataclass(frozen=True)
class Checkpoint:
    """The content of a checkpoint.

    Args:
        state: State of the run.
        tensors: Tensors by name, "model/NAME", "optimizer/NAME/KEY" and "meter/NAME", on the CPU.
    """

    state: RunState
    tensors: Mapping[str, Tensor]

    def part(self, prefix: str) -> dict[str, Tensor]:
        """Collect the tensors under a prefix, by the rest of their names."""
        return {name[len(prefix) + 1 :]: t for name, t in self.tensors.items() if name.startswith(prefix + "/")}


class Checkpoints:
    """The checkpoints of a run: `step-XXXXXXXX.safetensors`, and `best-STAGE.safetensors` with the best weights.

    Args:
        folder: Folder that holds the checkpoints.
    """

    def __init__(self, folder: Path):
        self.folder = folder

    @property
    def kept(self) -> bool:
        """Whether there is a checkpoint to resume from."""
        return bool(self._steps())

    def save(self, state: RunState, tensors: Mapping[str, Tensor]) -> Path:
        """Write a checkpoint, then remove the oldest ones beyond `KEPT`.

        Raises:
            lipflow_core.errors.StorageError: If it can't be written; earlier checkpoints are untouched then.
        """
        path = self.folder / f"step-{state.total:08d}.safetensors"
        _write(path, state, tensors)
        for old in self._steps()[:-KEPT]:
            old.unlink(missing_ok=True)
        return path

    def save_best(self, state: RunState, tensors: Mapping[str, Tensor]) -> Path:
        """Write the best weights of the current stage so far."""
        path = self._best(state.stage)
        _write(path, state, tensors)
        return path

    def latest(self, warn: Callable[[str], None]) -> Checkpoint | None:
        """Read the latest intact checkpoint; None if the folder has no checkpoint.

        Args:
            warn: Function called with a line for each damaged checkpoint.

        Raises:
            lipflow_core.errors.ModelError: If all checkpoints are damaged.
        """
        paths = self._steps()
        for path in reversed(paths):
            try:
                return _read(path)
            except ModelError as error:
                warn(f"warning: {error.message}; falling back to the checkpoint before it")
        if paths:
            raise ModelError(f"{self.folder}: every checkpoint is damaged", "train again in another folder with --out")
        return None

    def best(self, stage: int) -> Checkpoint:
        """Read the best weights of a stage.

        Raises:
            lipflow_core.errors.ModelError: If they are missing or damaged.
        """
        return _read(self._best(stage))

    def _best(self, stage: int) -> Path:
        return self.folder / f"best-{stage}.safetensors"

    def _steps(self) -> list[Path]:
        return sorted(path for path in self.folder.glob("step-*.safetensors") if re.fullmatch(r"step-\d+", path.stem))


def _write(path: Path, state: RunState, tensors: Mapping[str, Tensor]) -> None:
    held = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    metadata = {"format": "lipflow-core checkpoint 1", "state": state.model_dump_json(), "crc32": _checksum(held)}
    write_atomically(path, safetensors.torch.save(held, metadata), within=path.parent.parent)


def _read(path: Path) -> Checkpoint:
    try:
        check_regular(path)
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata.get("crc32") != _checksum(tensors):
            raise ModelError(f"{path}: the checkpoint is damaged: its checksum does not match its content")
        return Checkpoint(RunState.model_validate_json(metadata["state"]), tensors)
    except (SafetensorError, OSError, KeyError, ValidationError, json.JSONDecodeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ModelError(f"{path}: the checkpoint is damaged or missing: {reason}") from error


def _checksum(tensors: Mapping[str, Tensor]) -> str:
    total = 0
    for name in sorted(tensors):
        total = zlib.crc32(name.encode(), total)
        total = zlib.crc32(tensors[name].reshape(-1).view(torch.uint8).numpy(), total)
    return f"{total:08x}"


def model_tensors(module: nn.Module) -> dict[str, Tensor]:
    """Collect a model's weights under their names in a checkpoint."""
    return {f"model/{name}": tensor for name, tensor in weights_of(module).items()}


def optimizer_tensors(optimizer: Optimizer, names: Mapping[Tensor, str]) -> dict[str, Tensor]:
    """Collect the optimizer's state under its names in a checkpoint. `names`: parameter → name."""
    return {
        f"optimizer/{names[parameter]}/{key}": value
        for parameter, state in optimizer.state.items()
        for key, value in state.items()
    }


def load_optimizer_tensors(optimizer: Optimizer, names: Mapping[Tensor, str], saved: Mapping[str, Tensor]) -> None:
    """Load saved state into a new optimizer. `names`: parameter → name; `saved`: "NAME/KEY" → tensor."""
    by_name = {name: parameter for parameter, name in names.items()}
    for path, value in saved.items():
        name, _, key = path.rpartition("/")
        parameter = by_name[name]
        # Adam keeps its step counts beside fused parameters, its moments in the parameter's layout.
        value = value.to(parameter.device)
        if value.shape == parameter.shape:
            value = torch.empty_like(parameter, memory_format=torch.preserve_format).copy_(value)
        optimizer.state[parameter][key] = value
