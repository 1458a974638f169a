"""The wheel, the sdist and an editable install hold what they must, and the wheel runs on its own."""

import os
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.skipif(not (ROOT / "pyproject.toml").is_file(), reason="needs a checkout")


def hatchling(folder, target, out):
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """A folder with sdist/, wheel/ and, made from the unpacked sdist, again/."""
    base = tmp_path_factory.mktemp("packages")
    hatchling(ROOT, "sdist", base / "sdist")
    hatchling(ROOT, "wheel", base / "wheel")
    with tarfile.open(next((base / "sdist").glob("*.tar.gz"))) as archive:
        archive.extractall(base / "unpacked", filter="data")
    hatchling(next((base / "unpacked").iterdir()), "wheel", base / "again")
    return base


def wheel(folder):
    return zipfile.ZipFile(next(folder.glob("*.whl")))


@pytest.fixture(scope="module")
def installed(built):
    target = built / "installed"
    with wheel(built / "wheel") as archive:
        archive.extractall(target)
    return target


def test_a_wheel_holds_the_core_the_plugins_and_their_data(built):
    with wheel(built / "wheel") as archive:
        names = set(archive.namelist())
    assert names >= {
        "lipflow_core/__init__.py",
        "lipflow_core/py.typed",
        "lipflow_core/shipped/registry.toml",
        "lipflow_core/shipped/specs/lip-flow-hmc.yaml",
        "lipflow_dam/__init__.py",
        "lipflow_dome/data/head.npz",
        "lipflow_dome/data/CC0-1.0.md",
        "lipflow_report/templates/page.html",
        "lipflow_kit/py.typed",
    }
    assert {path.name for path in (ROOT / "plugins").iterdir() if (path / "__init__.py").is_file()} <= {
        name.partition("/")[0] for name in names
    }


def test_a_wheel_holds_nothing_else(built):
    with wheel(built / "wheel") as archive:
        tops = {name.partition("/")[0] for name in archive.namelist()}
        compiled = [name for name in archive.namelist() if name.endswith((".pyc", ".nbi", ".nbc"))]
    assert all(top == "lipflow_core" or top.startswith(("lipflow_", "lipflow_core-")) for top in tops), tops
    assert compiled == []


def test_an_sdist_holds_tests_and_docs_and_gives_the_same_wheel(built):
    with tarfile.open(next((built / "sdist").glob("*.tar.gz"))) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert names >= {"pyproject.toml", "registry.toml", "specs/dam.yaml", "LICENSE", "README.md", "tests/conftest.py"}
    with wheel(built / "wheel") as first, wheel(built / "again") as second:
        assert sorted(first.namelist()) == sorted(second.namelist())
        differing = [name for name in first.namelist() if first.read(name) != second.read(name)]
    assert differing == []


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["assemble", "lip-flow-hmc", "preset=tiny", "--check"], "the parts fit together"),
        (["plugins", "list"], "standard-normal"),
    ],
)
def test_a_wheel_runs_on_its_own(installed, tmp_path, arguments, expected):
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-m", "lipflow_core", *arguments]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert expected in done.stdout


def test_a_wheel_brings_its_own_plugins(installed, tmp_path):
    code = (
        "import lipflow_core, lipflow_dam, lipflow_dome; from lipflow_core.shipped import shipped\n"
        "print(lipflow_core.__file__, lipflow_dam.__file__, lipflow_dome.__file__, shipped('specs'), sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(installed)}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
    assert all(Path(line).is_relative_to(installed) for line in done.stdout.splitlines())


def test_an_editable_install_points_at_core_and_plugins(tmp_path):
    code = f"import hatchling.build; print(hatchling.build.build_editable({str(tmp_path)!r}))"
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    with wheel(tmp_path) as archive:
        lists = [archive.read(name).decode() for name in archive.namelist() if name.endswith(".pth")]
    assert [Path(line) for line in lists[0].splitlines()] == [ROOT, ROOT / "plugins"]
    shutil.rmtree(tmp_path)
