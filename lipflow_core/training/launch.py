"""Starts Lightning Fabric: one process by default; several processes or machines and mixed precision by option."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from lipflow_core.specs.model import Training

if TYPE_CHECKING:
    from lightning_fabric import Fabric


@contextmanager
def quiet_fabric() -> Iterator[None]:
    """Silence Fabric's advice on the terminal: it concerns choices that the spec has made."""
    logger = logging.getLogger("lightning_fabric")
    before = logger.level
    logger.setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="lightning_fabric")
        try:
            yield
        finally:
            logger.setLevel(before)


def launch(training: Training, device: str) -> Fabric:
    """Start the processes of `training.devices` and `training.nodes`; each process returns its own Fabric.

    With more than one process, the command or the calling script is run again in each other process, as `torchrun` or
    a cluster's scheduler does.

    Args:
        training: Options of training: devices, machines and precision.
        device: Device type, such as "cuda".
    """
    from lightning_fabric import Fabric

    alone = training.devices * training.nodes == 1
    fabric = Fabric(
        accelerator=device,
        devices=training.devices,
        num_nodes=training.nodes,
        strategy="auto" if alone else "ddp",
        precision=training.precision,
    )
    fabric.launch()
    return fabric


def is_first_process() -> bool:
    """Tell whether this process writes files and messages; may be called before `launch`."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    return rank_zero_only.rank == 0
