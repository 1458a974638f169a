"""A world of its own for the registry: distributions, registry files and a user's configuration in a folder."""

from __future__ import annotations

import importlib
import io
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent

import pytest

import lipflow_core
from lipflow_core.cli import main

CHECKOUT = Path(lipflow_core.__file__).parents[1]

PLUGIN = """
from lipflow_core.hooks import Component, hookimpl

@hookimpl
def lipflow_components():
    yield Component(
        kind={kind!r},
        name={name!r},
        implementation={implementation!r},
        config={config!r},
        summary="made in a test"{extra},
    )
"""

CONFIG = '''
from lipflow_core.config import Config
from lipflow_core.plans import Plan

class Options(Config):
    """Options of a test's component."""

    width: int = 3

    def plan(self, given):
        return Plan(inputs={"code": (given.code,)}, outputs={"log_prob": ()})

class Made:
    def __init__(self, config, given):
        self.config = config
'''


def plugin_source(name: str, *, kind: str = "prior", module: str = "options", **extra: object) -> str:
    """A plugin's module that offers one component.

    Args:
        name: Of the component.
        kind: Its kind.
        module: Where its Config and class are.
        **extra: Further arguments of the descriptor.
    """
    said = "".join(f", {key}={value!r}" for key, value in extra.items())
    paths = {"implementation": f"{module}:Made", "config": f"{module}:Options"}
    return PLUGIN.format(kind=kind, name=name, extra=said, **paths)


@dataclass(frozen=True)
class Result:
    """What a command ended with and said."""

    returncode: int
    stdout: str
    stderr: str


class Sandbox:
    """A project folder, a site folder on sys.path and a user's configuration folder.

    Attributes:
        project: The current directory of what is run.
        site: On the path of what is run.
        configuration: The user's configuration folder of lipflow-core.
    """

    def __init__(self, root: Path):
        self.root = root
        self.project, self.site = root / "project", root / "site"
        self.configuration = root / "configuration" / "lipflow-core"
        for folder in (self.project, self.site, self.configuration):
            folder.mkdir(parents=True)
        self.environment = {
            "PYTHONPATH": str(self.site),
            "PYTHONSAFEPATH": "1",
            "XDG_CONFIG_HOME": str(self.configuration.parent),
            "COLUMNS": "200",
        }

    def write(self, path: Path, text: str) -> Path:
        """Write a file, its indentation removed."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(dedent(text))
        return path

    def install(self, distribution: str, module: str, source: str, *, entry_point: str | None = None) -> None:
        """Install a distribution of one module with an entry point, as a wheel would.

        Args:
            distribution: Its name.
            module: Its module.
            source: The module's text.
            entry_point: Name of the entry point; the module's if None.
        """
        self.write(self.site / f"{module}.py", source)
        self.write(self.site / "options.py", CONFIG)
        metadata = self.site / f"{distribution.replace('-', '_')}-1.2.dist-info"
        self.write(metadata / "METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.2\n")
        self.write(metadata / "RECORD", f"{module}.py,,\n")
        points = f"[lipflow_core.plugins]\n{entry_point or module} = {module}\n"
        self.write(metadata / "entry_points.txt", points)

    def registry(self, text: str, folder: Path | None = None) -> Path:
        """Write a registry.toml, the project's unless another folder is given."""
        return self.write((folder or self.project) / "registry.toml", text)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python in the project, as a process of its own that imports the same lipflow_core."""
        path = os.pathsep.join([str(self.site), str(CHECKOUT), str(CHECKOUT / "plugins")])
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.project,
            env={**os.environ, **self.environment, "PYTHONPATH": path},
            capture_output=True,
            text=True,
            check=False,
        )

    @contextmanager
    def entered(self, **environment: str) -> Iterator[None]:
        """This process within the sandbox: its folder, its path, its environment; left as it was, modules included."""
        variables = {**self.environment, **environment}
        before = set(sys.modules)
        with pytest.MonkeyPatch.context() as patch:
            for name in [name for name in os.environ if name.startswith("LIPFLOW_CORE_")]:
                patch.delenv(name)
            for name, value in variables.items():
                patch.setenv(name, value)
            patch.chdir(self.project)
            patch.setattr(sys, "path", [*variables["PYTHONPATH"].split(os.pathsep), *sys.path])
            importlib.invalidate_caches()
            try:
                yield
            finally:
                for name in set(sys.modules) - before:
                    if str(getattr(sys.modules[name], "__file__", None)).startswith(str(self.root)):
                        del sys.modules[name]

    def run(self, *arguments: str, **environment: str) -> Result:
        """Run the command line in the sandbox, within this process."""
        out, err = io.StringIO(), io.StringIO()
        with self.entered(**environment), redirect_stdout(out), redirect_stderr(err):
            returncode = main(arguments)
        return Result(returncode, out.getvalue(), err.getvalue())

    def listed(self, *arguments: str, **environment: str) -> dict:
        """What `plugins list --json` says."""
        result = self.run(*arguments, "plugins", "list", "--json", **environment)
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def component(self, name: str, *arguments: str, **environment: str) -> dict:
        """The listed component of a name."""
        rows = [row for row in self.listed(*arguments, **environment)["components"] if row["name"] == name]
        assert len(rows) == 1, f"{len(rows)} components are called {name}"
        return rows[0]

    def plugin(self, name: str, *arguments: str, **environment: str) -> dict:
        """The listed plugin of a name."""
        return next(row for row in self.listed(*arguments, **environment)["plugins"] if row["name"] == name)
