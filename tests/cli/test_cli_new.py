"""`new plugin`: what it writes passes its own tests, and it overwrites nothing."""

import os
import subprocess
import sys

import pytest

from lipflow_core.cli import main
from lipflow_core.hooks import KINDS

NAME = "fresh-thing"


def write(folder, kind="prior", name=NAME):
    return main(["new", "plugin", name, "--kind", kind, "--out", str(folder)])


def install(folder, site):
    """Put a plugin's package on a path with the metadata that installing it would write."""
    import tomllib

    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    (package,) = project["entry-points"]["lipflow_core.plugins"].values()
    metadata = site / f"{package}-{project['version']}.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    (metadata / "entry_points.txt").write_text(f"[lipflow_core.plugins]\n{package} = {package}\n")
    (site / package).symlink_to(folder / package)


@pytest.fixture(scope="module")
def own_tests(tmp_path_factory):
    """Outcome of the own tests of one new plugin of each kind, all installed and run by one process."""
    root = tmp_path_factory.mktemp("new")
    for kind in KINDS:
        assert write(root, kind, f"fresh-{kind}") == 0
        install(root / f"fresh-{kind}", root / "site")
    options = ["-q", "-rA", "--import-mode=importlib", "-W", "error", "-p", "no:cacheprovider", "-c", os.devnull]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(root), *(f"fresh-{kind}" for kind in KINDS)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root / "site"), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_plugin_passes_its_own_tests_at_once(kind, own_tests):
    outcomes = [line.split()[0] for line in own_tests.splitlines() if f" fresh-{kind}/tests/" in f" {line}"]
    assert set(outcomes) == {"PASSED"}, own_tests
    assert len(outcomes) >= 13


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_of_the_template_shows(kind, tmp_path):
    write(tmp_path, kind)
    for file in (tmp_path / NAME).rglob("*.*"):
        assert "skeleton" not in file.read_text().lower(), file


def test_the_readme_shows_a_spec_that_names_it(tmp_path):
    write(tmp_path, "coupling")
    assert "flow: {type: glow, coupling: fresh-thing}" in (tmp_path / NAME / "README.md").read_text()


def test_what_exists_is_not_touched(tmp_path, capsys):
    (tmp_path / NAME).mkdir()
    (tmp_path / NAME / "mine.txt").write_text("mine")
    assert write(tmp_path) == 2
    assert [p.name for p in (tmp_path / NAME).iterdir()] == ["mine.txt"]
    assert "exists" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["My-Prior", "my_prior", "1st", "json", "class", "torch", "x-", "standard-normal"])
def test_names_that_can_not_be_used_are_refused(name, tmp_path):
    assert write(tmp_path, name=name) == 2
    assert list(tmp_path.iterdir()) == []


def test_a_place_that_can_not_be_written_leaves_nothing_behind(tmp_path, monkeypatch, capsys):
    def full(*arguments, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.write_text", full)
    assert write(tmp_path) == 8
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder_is_an_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert write(tmp_path / "file") == 8
    assert "can't be written" in capsys.readouterr().err
