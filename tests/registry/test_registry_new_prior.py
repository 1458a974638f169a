"""A new prior without touching the core: a local file, and an installed distribution in an environment of its own."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

MIXTURE = Path(__file__).parent / "mixture"

SPEC = """
name: mixture
capture: dome
encoder: dam
decoder: dam
prior: {type: mog, rounds: 3}
fitting:
  objectives:
    - {type: keypoint}
    - {type: latent-likelihood, weight: 0.01}
"""

JOB = """
from lipflow_core.cli import main
for command in (
    ["assemble", "mixture.yaml", "preset=tiny", "--json"],
    ["train", "mixture.yaml", "preset=tiny", "training.stages.0.steps=2", "--out", "run", "--quiet"],
    ["fit", "run", "--out", "fits", "--frames", "0:2", "--json"],
    ["plugins", "check", "prior/global-mixture"],
):
    print("=====", flush=True)
    code = main(command)
    assert code == 0, (command, code)
"""


class Project:
    """A folder with a spec, and the Python that runs in it."""

    def __init__(self, folder: Path, python: str):
        self.folder, self.python = folder, python
        folder.mkdir()
        (folder / "mixture.yaml").write_text(SPEC)

    def run(self, *arguments: str) -> str:
        """Run Python in the folder; what it printed."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("LIPFLOW_CORE_RE")}
        environment.pop("PYTHONPATH", None)
        result = subprocess.run(
            [self.python, *arguments],
            cwd=self.folder,
            env={**environment, "OMP_NUM_THREADS": "1", "XDG_CONFIG_HOME": str(self.folder / "none")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stdout + result.stderr
        return result.stdout

    def component(self) -> dict:
        """What `plugins list` says of the mixture."""
        rows = json.loads(self.run("-m", "lipflow_core", "plugins", "list", "--json"))["components"]
        return next(row for row in rows if row["name"] == "global-mixture")


@pytest.fixture(scope="module")
def local(tmp_path_factory):
    """A project with the prior's files in it, named by two lines in its registry.toml."""
    project = Project(tmp_path_factory.mktemp("local") / "project", sys.executable)
    for name in ("acme_prior.py", "acme_prior_model.py"):
        shutil.copy(MIXTURE / name, project.folder)
    (project.folder / "registry.toml").write_text('[plugins.acme-prior]\npath = "./acme_prior.py"\n')
    return project


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """A project in a virtual environment of its own, into which the prior's wheel is installed."""
    root = tmp_path_factory.mktemp("installed")
    shutil.copytree(MIXTURE, root / "source")
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(root)!r}))"
    built = subprocess.run(
        [sys.executable, "-c", build], cwd=root / "source", capture_output=True, text=True, check=True
    )
    venv.create(root / "environment", with_pip=False, symlinks=os.name != "nt")
    scheme = {"base": str(root / "environment"), "platbase": str(root / "environment")}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    zipfile.ZipFile(root / built.stdout.split()[-1]).extractall(site)
    # The libraries that this test runs with, editable installs among them, are seen from the new environment.
    here = sysconfig.get_path("purelib")
    (site / "libraries.pth").write_text(f"import site; site.addsitedir({here!r})\n")
    scripts = "Scripts" if os.name == "nt" else "bin"
    return Project(root / "project", str(root / "environment" / scripts / "python"))


def test_a_local_file_is_listed_with_the_registry_that_names_it(local):
    row = local.component()
    assert (row["status"], row["distribution"]) == ("ok", "acme-prior")
    assert row["origin"].startswith("project (")


def test_an_installed_distribution_is_listed_with_its_entry_point(installed):
    row = installed.component()
    assert (row["status"], row["distribution"], row["origin"]) == ("ok", "acme-mixture", "entry point")


@pytest.mark.parametrize("way", ["local", "installed"])
def test_it_is_assembled_trained_fitted_and_passes_the_kit(way, request):
    project = request.getfixturevalue(way)
    _, assembled, _, fitted, checked = project.run("-c", JOB).split("=====\n")
    parts = json.loads(assembled)["parts"]
    prior = next(part for part in parts if part["slot"] == "prior")
    assert prior["component"] == "global-mixture" and prior["parameters"] > 0
    weights = (project.folder / "run" / "weights.safetensors").read_bytes()
    assert b"prior.logit" in weights and b"prior.mean" in weights
    lock = (project.folder / "run" / "lock.json").read_text()
    assert {"local": "acme-prior", "installed": "acme-mixture"}[way] in lock
    assert "frames" in json.loads(fitted)
    assert " checks passed" in checked and "FAILED" not in checked


def test_without_the_plugin_its_model_is_refused_by_name(local):
    """The model directory of the local plugin, opened from a folder whose registry does not name it."""
    if not (local.folder / "run").exists():
        local.run("-c", JOB)
    elsewhere = Project(local.folder / "elsewhere", sys.executable)
    (elsewhere.folder / ".git").mkdir()
    program = (
        "from lipflow_core.cli import main; import sys; sys.stderr = sys.stdout\n"
        f"print('ended with', main(['fit', {str(local.folder / 'run')!r}, '--out', 'fits']))"
    )
    said = elsewhere.run("-c", program)
    assert said.endswith("ended with 5\n")
    assert "this model needs prior 'global-mixture' of acme-prior sha256:" in said
    assert "Add the files of acme-prior to your project's registry.toml" in said and "pip install" not in said
    assert not (elsewhere.folder / "fits").exists()
