"""The folder that pages take for granted: a reader has trained two models and written a capture before."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest
from docs_presumed import PRESUMED
from docs_reader import Reader

from lipflow_core.registry.process_layer import held


@pytest.fixture(scope="session")
def before(tmp_path_factory) -> Path:
    """Folder with runs/dam, runs/lip-flow-hmc and captures/p05."""
    folder = tmp_path_factory.mktemp("before")
    with pytest.MonkeyPatch.context() as patch:
        reader = Reader(folder, patch)
        for name in ("dam", "lip-flow-hmc"):
            reader.command(f"lipflow-core train {name} --out runs/{name} --quiet")
        reader.command("lipflow-core capture simulate --subject p05 --preset tiny --out captures/p05")
    return folder


@pytest.fixture
def read_as(before, tmp_path):
    """Make the reader of a page: `read_as(page)`."""
    with pytest.MonkeyPatch.context() as patch:
        known = set(sys.modules)

        def reader_of(page: str) -> Reader:
            shutil.copytree(before, tmp_path, dirs_exist_ok=True)
            reader = Reader(tmp_path, patch)
            PRESUMED.get(page, lambda reader: None)(reader)
            return reader

        yield reader_of
        vars(held).clear()  # what a page registered stays on the page
        for name in set(sys.modules) - known:
            if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
                del sys.modules[name]
