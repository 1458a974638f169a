"""Full disks and folders that may not be written end fit, evaluate and sample with the storage's exit code."""

from __future__ import annotations

import contextlib
import os
import sys

import pytest

from lipflow_core.cli import main
from lipflow_core.errors import StorageError

# Curves have room for every step, so that codes and fits are larger than pictures and sooner at the limit.
ARGUMENTS = {
    "evaluate": ["fitting.steps=600", "fitting.patience=2", "--count", "2", "--quiet"],
    "fit": ["fitting.steps=600", "fitting.patience=2", "--frames", "0:2", "--quiet"],
    "sample": ["--count", "4"],
}
LIMITS = {"evaluate": 8000, "fit": 8000, "sample": 300}


@contextlib.contextmanager
def files_no_larger_than(size):
    """As if the disk filled up within the first larger file."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
@pytest.mark.parametrize("command", list(ARGUMENTS))
def test_a_disk_that_fills_up_is_told_and_leaves_nothing_half_written(command, trained, tmp_path, capsys):
    out = tmp_path / "out"
    with files_no_larger_than(LIMITS[command]):
        code = main([command, str(trained["dam"]), *ARGUMENTS[command], "--out", str(out)])
    assert code == StorageError.exit_code
    assert "can't be written" in capsys.readouterr().err
    left = {path.name for path in tmp_path.rglob("*") if path.is_file()}
    assert not left


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
@pytest.mark.parametrize("command", list(ARGUMENTS))
def test_a_folder_that_may_not_be_written_is_told(command, trained, tmp_path, capsys):
    tmp_path.chmod(0o500)
    try:
        code = main([command, str(trained["dam"]), *ARGUMENTS[command], "--out", str(tmp_path / "out")])
    finally:
        tmp_path.chmod(0o700)
    assert code == StorageError.exit_code
    assert "is not yours to write to" in capsys.readouterr().err
