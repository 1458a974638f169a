"""`train`, which trains a spec's model in stages, with checkpoints, and writes a model directory."""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from lipflow_core.assembly import build, on_device, usable_devices
from lipflow_core.avatar import Avatar
from lipflow_core.errors import ModelError, NumericalError
from lipflow_core.instances import warning_of
from lipflow_core.interfaces import Capture, Objective
from lipflow_core.interfaces.objective import numbered
from lipflow_core.model_directory import EditedModelError, ModelWarning, check_model, write_model
from lipflow_core.model_lock import WEIGHTS, read_lock
from lipflow_core.planning import Blueprint, plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.progress import Progress
from lipflow_core.progress import progress as new_progress
from lipflow_core.specs.model import Spec
from lipflow_core.training.checkpoints import Checkpoint, model_tensors
from lipflow_core.training.first_stages import first_stages
from lipflow_core.training.launch import is_first_process, launch, quiet_fabric
from lipflow_core.training.learning import freeze
from lipflow_core.training.run import Run
from lipflow_core.training.run_directory import METRICS, Metrics, RunDirectory
from lipflow_core.training.signals import StopOnSignal
from lipflow_core.training.stage import StageTraining
from lipflow_core.training.stage_loss import needs_of
from lipflow_core.training.state import RunState, StageSummary, TrainingSummary
from lipflow_core.version import __version__
from lipflow_core.weights import load_weights, weights_of

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@dataclass(frozen=True)
class TrainingResult:
    """Holds the result of a training run.

    Args:
        path: Model directory.
        avatar: Trained model, in evaluation mode.
        summary: Content of `result.json`: steps, time, and how each stage ended.
    """

    path: Path
    avatar: Avatar = field(repr=False)
    summary: TrainingSummary

    @property
    def stages(self) -> tuple[StageSummary, ...]:
        """Summary of each stage, in order."""
        return self.summary.stages

    @property
    def held_out(self) -> float:
        """Held-out loss of the last stage."""
        return self.summary.held_out


def train(
    spec: Spec,
    out: str | os.PathLike[str],
    *,
    resume: bool = False,
    after: str | os.PathLike[str] | None = None,
    avatar: Avatar | None = None,
    capture: Capture | None = None,
    progress: Progress | None = None,
    stop: Callable[[], bool] | None = None,
) -> TrainingResult:
    """Train a spec's model on its capture, stage by stage.

    The folder becomes a model directory, with `metrics.jsonl`, `checkpoints/` and `result.json` beside the model. A run
    that was ended at any moment, even by SIGKILL, continues with `resume` to the same weights, bit for bit.

    Args:
        spec: Spec to train.
        out: Folder of the run; must be empty or not exist, unless `resume` is True.
        resume: Whether to continue the run in `out`, or start it if there is none. A finished run is left alone; only
            its model is written again if it is damaged.
        after: Finished run of a spec that has the first stages alone, and of all other parts at least those that they
            use. Training begins with the next stage, and ends with the same weights as without this, bit for bit.
        avatar: Model to start from, trained in place; if None, a new one is assembled from the spec.
        capture: Capture to train on; the spec's if None.
        progress: Progress that each step advances.
        stop: Function called after each step; the run saves and ends if it returns True. If None, INT and TERM end the
            run (a second INT at once).

    Returns:
        Path, trained model and a summary of each stage.

    Raises:
        lipflow_core.errors.StorageError: If `out` is not empty or can't be written.
        lipflow_core.errors.ModelError: If the run in `out` was started with other settings, naming what differs.
        lipflow_core.errors.CaptureError: If a frame is damaged or holds NaN, naming it.
        lipflow_core.errors.NumericalError: If the loss stays NaN, naming the term and the step.
        lipflow_core.errors.Interrupted: If the run was told to stop; the work so far is saved.

    Warns:
        lipflow_core.model_directory.ModelWarning: If the avatar has a component, given as an object, that the spec does
            not name, so that the model can't be opened again by its spec alone.

    Example:
        >>> spec = lipflow_core.load_spec("dam", ["preset=tiny"])
        >>> result = lipflow_core.train(spec, "runs/first")
        >>> result.held_out
    """
    directory = RunDirectory(Path(out))
    if is_first_process():
        directory.check_free(resume=resume)
    with ExitStack() as stack:
        stack.enter_context(quiet_fabric())
        stop = stack.enter_context(StopOnSignal()) if stop is None else stop
        stack.enter_context(_threads(spec.training.threads))
        blueprint = plan(on_device(spec, None), devices=usable_devices())
        fabric = launch(spec.training, blueprint.device)
        # Modules draw from torch's global generators, which are seeded at each step; the caller's are restored.
        stack.enter_context(torch.random.fork_rng([fabric.device] if fabric.device.type == "cuda" else []))
        capture = spec.capture.build(CaptureInputs()) if capture is None else capture
        warm = avatar is not None
        if avatar is not None and (warning := warning_of(avatar, spec)) is not None:
            # At the start, since the training may take days.
            warnings.warn(warning, ModelWarning, stacklevel=2)
        avatar = _place_model(blueprint, capture, avatar, fabric)
        dtype = avatar.template_buffers.vertices_mean.dtype
        fabric.strategy.precision.convert_module(avatar)
        objectives = _build_objectives(blueprint, avatar)
        silent = new_progress(None, "train", "step", style="none")
        shown = silent if progress is None or not fabric.is_global_zero else progress
        # Before anything is written: it may be the wrong run.
        begun = None if after is None else first_stages(Path(after), spec, shown.note)
        if fabric.is_global_zero:
            _open_directory(directory, _identity(blueprint, capture, fabric, after), shown, stack)
        fabric.barrier()
        checkpoint = _latest(directory, shown) if resume else None
        found = checkpoint or begun
        run = Run(
            spec=spec,
            fabric=fabric,
            avatar=avatar,
            objectives=objectives,
            capture=capture,
            directory=directory,
            metrics=None,
            state=RunState() if found is None else found.state,
            progress=shown,
            stop=stop,
        )
        if checkpoint is not None:
            load_weights(avatar, checkpoint.part("model"), str(directory.checkpoints.folder))
        elif begun is not None:
            # The parts that the first stages do not have keep their initial weights.
            load_weights(avatar, {**weights_of(avatar), **begun.part("model")}, str(after))
        if fabric.is_global_zero and directory.result() is None:
            metrics = Metrics(directory.path / METRICS, run.state.metrics_bytes)
            stack.callback(metrics.close)
            run = replace(run, metrics=metrics)
            if warm and checkpoint is None:
                # The caller's model is not on disk yet.
                run.save(model_tensors(avatar))
        shown.resume_at(run.state.total)
        _run_stages(run, checkpoint)
        # The training precision is not kept in the saved model.
        avatar.to(dtype).eval().requires_grad_(True)
        summary = TrainingSummary(
            name=spec.name,
            version=__version__,
            stages=tuple(run.state.finished),
            steps=run.state.before,
            seconds=round(run.state.seconds, 3),
        )
        result = TrainingResult(directory.path, avatar, summary)
        if run.metrics is not None:
            write_model(avatar, spec, directory.path)
            directory.finish(summary)
        fabric.barrier()
        return result


def _place_model(blueprint: Blueprint, capture: Capture, avatar: Avatar | None, fabric: Fabric) -> Avatar:
    """Build the model, or take the caller's, with the capture's template and on the fabric's device."""
    if avatar is None:
        return build(blueprint, capture.template(), fabric.device)
    avatar.template = capture.template()
    avatar.capture = blueprint.capture
    return avatar.to(fabric.device)


def _build_objectives(blueprint: Blueprint, avatar: Avatar) -> dict[str, dict[str, Objective]]:
    """Build each stage's objectives, and check that each stage can learn, before anything is written."""
    built = {}
    for stage in blueprint.spec.training.stages:
        planned = blueprint.stage_objectives[stage.name]
        parts = [term.build().to(avatar.device) for term in planned]
        built[stage.name] = numbered([term.part.name for term in planned], parts)
        freeze(avatar, stage)
        needs_of(avatar, stage, built[stage.name])
    return built


def _open_directory(directory: RunDirectory, identity: dict[str, Any], shown: Progress, stack: ExitStack) -> None:
    """Claim the folder for this process and open the run in it; reopen a finished one whose model is damaged."""
    if directory.result() is None:
        stack.enter_context(directory.claimed())
    stack.push(partial(_forget, directory))
    directory.open(identity)
    if directory.result() is None:
        return
    try:
        check_model(directory.path)
    except EditedModelError:
        raise
    except ModelError as error:
        shown.note(f"warning: {error.message}; the model will be written again from the last checkpoint")
        stack.enter_context(directory.claimed())
        directory.reopen()


def _latest(directory: RunDirectory, shown: Progress) -> Checkpoint | None:
    """Read the latest intact checkpoint; None if the run has none yet."""
    checkpoint = directory.checkpoints.latest(shown.note)
    if checkpoint is None and directory.result() is not None:
        raise ModelError(
            f"{directory.path}: the run is finished, and its checkpoints are gone",
            "use the model in this folder, or train again in another folder with --out",
        )
    return checkpoint


def _forget(directory: RunDirectory, kind: type | None, error: BaseException | None, trace: object) -> None:
    """Remove a run that failed, except after a NumericalError: its metrics show why a loss was not finite."""
    if isinstance(error, Exception) and not isinstance(error, ModelError | NumericalError):
        directory.forget()


def _run_stages(run: Run, checkpoint: Checkpoint | None) -> None:
    state, stages = run.state, run.spec.training.stages
    while state.stage < len(stages):
        within = checkpoint if state.step > 0 else None
        checkpoint = None
        state.finished.append(StageTraining(run, within).train())
        state.before, state.step, state.stage = state.total, 0, state.stage + 1
        state.best_loss, state.best_step, state.held_out, state.scaler = None, 0, None, {}
        state.usual, state.warnings = {}, {}
        run.save(model_tensors(run.avatar))


def _identity(
    blueprint: Blueprint, capture: Capture, fabric: Fabric, after: str | os.PathLike[str] | None
) -> dict[str, Any]:
    """Collect everything that determines the weights of a run, to the last bit."""
    data = blueprint.spec.model_dump(mode="json", exclude={"device"})
    # How the trained model will be used changes nothing in it, but the fitting prior's weights are part of it.
    fitting = {"prior": data.pop("fitting")["prior"]}
    del data["evaluation"]
    del data["training"]["workers"]
    # The capture's own hash identifies its frames, wherever they are stored.
    del data["capture"]
    return {
        "spec": {**data, "fitting": fitting},
        # With the weights that priors recommend, which the spec leaves open.
        "objectives": {
            stage: [term.part.as_data() for term in terms] for stage, terms in blueprint.stage_objectives.items()
        },
        "capture": capture.identity,
        "device": fabric.device.type,
        "processes": fabric.world_size,
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        **({} if after is None else {"after": read_lock(Path(after)).sha256[WEIGHTS]}),
    }


@contextmanager
def _threads(count: int) -> Iterator[None]:
    """Set torch's number of threads in a context; 0 leaves it unchanged."""
    before = torch.get_num_threads()
    if count:
        torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
