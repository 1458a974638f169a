"""`plugins check --capture` examines a component in the world of a capture."""

from __future__ import annotations

import pytest

from lipflow_core.cli import main
from lipflow_core.testing import checks


@pytest.fixture(autouse=True)
def project(tmp_path, monkeypatch):
    (tmp_path / "registry.toml").write_text('[plugins]\ncloud = { module = "cloud" }\n')
    monkeypatch.chdir(tmp_path)


def test_a_component_of_a_new_modality_passes_with_its_capture(capsys):
    assert main(["plugins", "check", "encoder/cloud", "noise=0.2", "--capture", "cloud", "frames=9"]) == 0
    count = len(checks("encoder"))
    assert f"encoder 'cloud': {count} of {count} checks passed" in capsys.readouterr().out


def test_without_a_capture_it_is_told_what_to_do(capsys):
    assert main(["plugins", "check", "encoder/cloud"]) == 5
    assert "name a capture that offers what it needs" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["cloud", "frames=many"], "override 'frames=many': capture.frames: should be a whole number, got 'many'"),
        (["clod"], "there is no capture 'clod'"),
        (["multiface"], "capture.path: is required"),
    ],
)
def test_what_is_wrong_with_the_capture_is_told(capsys, words, told):
    assert main(["plugins", "check", "encoder/cloud", "--capture", *words]) in (3, 5)
    assert told in capsys.readouterr().err
