"""A process that simulates chunks of a capture: `python -m lipflow_dome.worker`, with its task on standard input."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import torch

from lipflow_core.errors import LipflowError, StorageError
from lipflow_dome.config import DomeConfig
from lipflow_dome.filming import Film, Performance
from lipflow_dome.simulation import REFUSED, UNWRITABLE, open_store


def main() -> int:
    """Film the chunks of a task, until done or until the parent process is gone; gives the exit code."""
    parent = os.getppid()
    task = json.loads(sys.stdin.readline())
    torch.set_num_threads(1)
    try:
        config = DomeConfig.model_validate(task["config"])
        film = Film(config)
        _ = film.renderer, film.shader
    except (ValueError, LipflowError, ImportError) as error:
        print(error, file=sys.stderr)
        return REFUSED
    store = open_store(config, task["split"], Path(task["folder"]), task["chunk"])
    performance = Performance(config, task["split"])
    for chunk in task["chunks"]:
        if os.getppid() != parent:
            return 1
        try:
            store.write(chunk, film.shoot(performance, store.frames_of(chunk)))
        except StorageError as error:
            print(error.message, file=sys.stderr)
            return UNWRITABLE
    return 0


if __name__ == "__main__":
    sys.exit(main())
