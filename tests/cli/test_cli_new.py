"""`new plugin`: what it writes passes its own tests, and it overwrites nothing."""

import os
import subprocess
import sys

import pytest
from lipflow_new import command as new

from lipflow_core.cli import main
from lipflow_core.hooks import KINDS

NAME = "fresh-thing"
ALL = (*KINDS, "command")
MADE = {**{kind: (kind,) for kind in ALL}, "driven": ("prior", "--driving")}
"""End of the name of a plugin → its kind and further options."""


def write(folder, kind="prior", name=NAME, *options):
    return main(["new", "plugin", name, "--kind", kind, "--out", str(folder), *options])


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
    for name, (kind, *options) in MADE.items():
        assert write(root, kind, f"fresh-{name}", *options) == 0
        install(root / f"fresh-{name}", root / "site")
    options = [
        "-q",
        "-rA",
        "-W",
        "error",
        "--continue-on-collection-errors",
        "-p",
        "no:cacheprovider",
        "-c",
        os.devnull,
    ]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "--rootdir", str(root), *(f"fresh-{name}" for name in MADE)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(root / "site"), *sys.path]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    return result.stdout


@pytest.mark.parametrize("name", MADE)
def test_a_new_plugin_passes_its_own_tests_at_once(name, own_tests):
    lines = [line for line in own_tests.splitlines() if f" fresh-{name}/tests/" in line]
    outcomes = [line.split()[0] for line in lines]
    assert set(outcomes) == {"PASSED"}, "\n".join(lines)
    assert len(outcomes) >= (5 if name == "command" else 9)


@pytest.mark.parametrize("kind", ALL)
def test_nothing_of_the_template_shows(kind, tmp_path):
    write(tmp_path, kind)
    for file in (tmp_path / NAME).rglob("*.*"):
        assert "skeleton" not in file.read_text().lower(), file


def test_every_kind_has_a_template():
    assert tuple(new._KINDS) == ALL


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


@pytest.mark.parametrize(
    ("name", "options", "class_name"),
    [
        ("fresh-thing", (), "FreshThingPrior"),
        ("fresh-prior", (), "FreshPrior"),
        ("prior", (), "PriorPrior"),
        ("fresh-thing", ("--class", "Laplace"), "Laplace"),
    ],
)
def test_the_class_is_named_after_the_component_or_as_the_user_says(name, options, class_name, tmp_path):
    assert write(tmp_path, "prior", name, *options) == 0
    package = name.replace("-", "_")
    assert f"class {class_name}(LatentPrior)" in (tmp_path / name / package / "prior.py").read_text()


@pytest.mark.parametrize("class_name", ["LatentPrior", "not-a-name", "class"])
def test_names_that_no_class_can_have_are_refused(class_name, tmp_path, capsys):
    assert write(tmp_path, "prior", NAME, "--class", class_name) == 2
    assert f"--class {class_name}: the class can't have this name" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("kind", "options"), [("flow", ["--driving"]), ("command", ["--class", "Mine"])])
def test_options_of_another_kind_are_refused(kind, options, tmp_path, capsys):
    assert write(tmp_path, kind, NAME, *options) == 2
    assert "leave it out" in capsys.readouterr().err


def test_a_command_may_not_be_called_like_one_that_there_is(tmp_path, capsys):
    assert write(tmp_path, "command", "train") == 2
    assert "there is a command 'train' already" in capsys.readouterr().err


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_a_place_that_can_not_be_written_leaves_nothing_behind(tmp_path):
    program = (
        "import resource, sys; from lipflow_core.cli import main\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10, 10))\n"
        f"sys.exit(main(['new', 'plugin', {NAME!r}, '--kind', 'prior', '--out', {str(tmp_path)!r}]))"
    )
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode == 8
    assert "File too large" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_way_of_the_folder_is_an_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert write(tmp_path / "file") == 8
    assert "can't be written" in capsys.readouterr().err
