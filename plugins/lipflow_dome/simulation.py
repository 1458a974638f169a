"""Simulating a split into its store, in this process or spread over processes of one thread each."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from filelock import FileLock
from lipflow_kit.store import Store, Words, batches

from lipflow_core.errors import CaptureError, StorageError
from lipflow_core.progress import Progress, progress
from lipflow_dome.config import DomeConfig
from lipflow_dome.filming import Film, Performance, layout

WORDS = Words(
    "simulated capture",
    "run again: the same frames are simulated anew",
    "set the capture's option `cache` to another folder",
)

CHUNKS_WORTH_A_WORKER = 6
"""Number of chunks that pays for a process, which takes seconds to start. With fewer, this process does the work."""

REFUSED = 64
"""Exit code of a worker that could not build the capture, before it wrote anything."""

UNWRITABLE = 65
"""Exit code of a worker that could not write its frames; the last line that it printed tells the reason."""


def open_store(config: DomeConfig, split: str, folder: Path, frames_at_once: int) -> Store:
    """Give the store of a split in a capture's folder."""
    return Store(folder / split, layout(config), len(Performance(config, split)), frames_at_once, WORDS)


def simulate(config: DomeConfig, split: str, folder: Path, film: Callable[[], Film]) -> Store:
    """Simulate a split unless its store is complete. Processes that ask for the same split wait for the first.

    Args:
        config: The dome's options.
        split: "train" or "held-out".
        folder: Folder of this capture's cache.
        film: Gives the `Film` of this process, set up on the first call.

    Raises:
        StorageError: If the folder can't be written, or the disk is full.
        CaptureError: If a worker process failed.
    """
    store = open_store(config, split, folder, film().frames_at_once)
    if store.complete:
        return store
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(folder / f"{split}.lock")
        lock.acquire()
    except OSError as error:
        raise StorageError(
            f"could not write the simulated capture to {folder}: {error.strerror or error}",
            "Set the capture's option `cache` to a folder that can be written.",
        ) from error
    try:
        if not store.complete:
            store.prepare()
            _fill(config, split, folder, film, store)
            store.finish()
    finally:
        lock.release()
    return store


def _fill(config: DomeConfig, split: str, folder: Path, film: Callable[[], Film], store: Store) -> None:
    missing = store.missing()
    workers = min(config.workers or os.cpu_count() or 1, len(missing) // CHUNKS_WORTH_A_WORKER)
    label, begun = f"simulate {config.subject} {split}", store.chunks - len(missing)
    with progress(store.chunks, label, "chunk", initial=begun, patience=5.0) as bar:
        if workers > 1:
            # Their messages go to a file: a pipe that nobody empties would block a process with many warnings.
            with tempfile.TemporaryFile("w+", encoding="utf-8") as complaints:
                if _spread(config, split, folder, store, workers, bar, complaints):
                    return
        performance = Performance(config, split)
        for chunk in store.missing():
            store.write(chunk, film().shoot(performance, store.frames_of(chunk)))
            bar.advance(store.chunks - len(store.missing()) - bar.done)


def _spread(
    config: DomeConfig,
    split: str,
    folder: Path,
    store: Store,
    workers: int,
    bar: Progress,
    complaints: IO[str],
) -> bool:
    """Fill the store with worker processes; False if they can't be used for this config.

    They are commands, not forks: numba and OpenMP threads don't survive a fork, and multiprocessing's spawn would run
    the user's script again.
    """
    threads = ("OMP_NUM_THREADS", "NUMBA_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    environment = os.environ | dict.fromkeys(threads, "1")
    running = []
    try:
        for share in batches(store.missing(), workers):
            task = {
                "config": config.model_dump(mode="json"),
                "split": split,
                "folder": str(folder.resolve()),
                "chunks": share,
                "chunk": store.chunk,
            }
            process = subprocess.Popen(
                [sys.executable, "-m", "lipflow_dome.worker"],
                stdin=subprocess.PIPE,
                stderr=complaints,
                env=environment,
                text=True,
            )
            running.append(process)
            with contextlib.suppress(BrokenPipeError):  # it has ended: its exit code is read below
                process.stdin.write(json.dumps(task) + "\n")
                process.stdin.flush()
        while any(process.poll() is None for process in running):
            time.sleep(0.2)
            bar.advance(store.chunks - len(store.missing()) - bar.done)
            failed = [process for process in running if process.poll() not in (None, 0)]
            if failed:
                break
        codes = [process.poll() for process in running]
        if REFUSED in codes:
            return False
        for process in running:
            if process.poll() not in (None, 0):
                complaints.seek(0)
                lines = complaints.read().strip().splitlines() or ["no message"]
                if process.returncode == UNWRITABLE:
                    raise StorageError(
                        lines[-1], "Free some space, or set the capture's option `cache` to another folder."
                    )
                raise CaptureError(
                    f"a process that simulates the capture ended with exit code {process.returncode}: {lines[-1]}",
                    "Run again to resume. With the capture's option workers=1 no processes are started.",
                )
        bar.advance(store.chunks - bar.done)
        return True
    finally:
        for process in running:
            if process.poll() is None:
                process.kill()
            process.wait()
            with contextlib.suppress(BrokenPipeError):
                process.stdin.close()
