"""Starting Lightning Fabric: one process by default; several processes or machines and mixed precision by option."""

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
    """Keep Fabric's own advice out of the user's terminal: it is about choices that the spec has made."""
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
    """Start as many processes as `training.devices` and `training.nodes` say; each returns its own Fabric.

    With more than one process the command, or the script that called, is run again in each of the others, as
    `torchrun` or a cluster's scheduler would do it.

    Args:
        training: Devices, machines and precision.
        device: Device type.
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
    """Whether this is the process that writes and speaks; known before `launch`."""
    from lightning_fabric.utilities.rank_zero import rank_zero_only

    return rank_zero_only.rank == 0
