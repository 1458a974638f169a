"""Does `lipflow-core skeleton-name` do what it says?"""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file

from lipflow_core.cli import main


@pytest.fixture
def model(tmp_path):
    save_file({"decoder.weight": np.zeros((4, 3)), "prior.mean": np.zeros(3)}, tmp_path / "weights.safetensors")
    return str(tmp_path)


def test_it_lists_every_array(model, capsys):
    assert main(["skeleton-name", model]) == 0
    said = capsys.readouterr().out
    assert "decoder.weight  4×3" in said and "2 arrays" in said


def test_it_prints_json(model, capsys):
    assert main(["skeleton-name", model, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"decoder.weight": [4, 3], "prior.mean": [3]}


def test_a_folder_without_weights_is_a_clear_error(tmp_path, capsys):
    assert main(["skeleton-name", str(tmp_path)]) == 7
    assert "weights.safetensors can't be read" in capsys.readouterr().err


def test_it_has_a_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["skeleton-name", "--help"])
    assert stop.value.code == 0
    assert "model directory" in capsys.readouterr().out


def test_it_is_listed(capsys):
    assert main(["plugins", "info", "command/skeleton-name"]) == 0
    assert "skeleton_plugin.command" in capsys.readouterr().out
