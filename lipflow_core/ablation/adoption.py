"""Taking over cells that were done elsewhere: by earlier code, or in another folder. Imports no torch."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from lipflow_core.ablation.cells import Plan
from lipflow_core.ablation.folder import KEY, GridFolder
from lipflow_core.ablation.leases import Lease, remove_claims
from lipflow_core.ablation.status import former_of
from lipflow_core.errors import UsageError
from lipflow_core.storage import refuse_links, storage_error, write_atomically, written_folder


def adopt(plan: Plan, grid: GridFolder) -> list[str]:
    """Accept cells that were done by earlier code or numerics, as if they had been done by today's.

    Their folders are renamed, and `key.json` keeps under "adopted" what they were really done by.

    Args:
        plan: Today's plan.
        grid: Folder of the grid.

    Returns:
        Names of the cells that are done now.

    Raises:
        lipflow_core.errors.StorageError: If the folder can't be written.
    """
    others, adopted = grid.others(), []
    for name, cell in plan.cells.items():
        if grid.cell(name).done:
            continue
        found = former_of(name, others, grid)
        if not found:
            continue
        newest = max(found, key=lambda other: os.stat(grid.cell(other).path / "result.json").st_mtime)
        former = grid.cell(newest)
        with _free_place(grid, name) as free:
            if not free:
                continue
            old = former.key() or {}
            earlier = [*old.get("adopted", ()), old.get("how", {})]
            text = json.dumps({**cell.as_data(), "adopted": earlier}, indent=1, sort_keys=True) + "\n"
            write_atomically(former.path / KEY, text, within=grid.path)
            try:
                shutil.rmtree(grid.cells / name)
                os.rename(former.path, grid.cells / name)
            except OSError as error:
                raise storage_error(former.path, error) from error
        adopted.append(name)
    return adopted


def merge(other: Path, grid: GridFolder) -> tuple[list[str], list[str]]:
    """Copy the cells that are done in another grid's folder and not in this one.

    Args:
        other: The other folder.
        grid: This one.

    Returns:
        Names of the cells that were copied, and of those that were not since a process works on them here.

    Raises:
        lipflow_core.errors.UsageError: If the other folder holds no ablation.
        lipflow_core.errors.StorageError: If it holds links, or this one can't be written.
    """
    if not (other / "cells").is_dir():
        raise UsageError(f"{other}: holds no ablation", "Give the --out of another `lipflow-core ablate`.")
    source = GridFolder(other)
    grid.make()
    copied, busy = [], []
    for name in sorted(source.names()):
        if not source.cell(name).done or grid.cell(name).done:
            continue
        refuse_links(source.cell(name).path)
        with _free_place(grid, name) as free:
            if not free:
                busy.append(name)
                continue
            with written_folder(grid.cells / name, within=grid.path) as fresh:
                shutil.copytree(source.cell(name).path, fresh, dirs_exist_ok=True)
                remove_claims(fresh)
        copied.append(name)
    return copied, busy


@contextmanager
def _free_place(grid: GridFolder, name: str) -> Iterator[bool]:
    """Hold the place of a cell while another folder is put there; False if a process works on it or it is done."""
    folder = grid.cell(name)
    folder.path.mkdir(exist_ok=True)
    lease = Lease.take(folder.path, grid.clock)
    if lease is None or folder.done:
        yield False
        return
    try:
        yield True
    finally:
        if not folder.done:
            lease.release()
