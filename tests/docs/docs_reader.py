"""A reader who does what a page says: runs its commands and Python, writes its files, plans its specs.

A reader works in a folder of its own, at preset `tiny`, within this process. What a block leaves behind (files,
registries, Python names) is there for the next block of the page.
"""

from __future__ import annotations

import inspect
import io
import json
import re
import shlex
import sys
import tomllib
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType

import pytest
import yaml
from docs_blocks import ROOT, Block

from lipflow_core.cli import main
from lipflow_core.cli.arguments import command_parser, parse, take_common
from lipflow_core.cli.commands import OWN, load, offers_of
from lipflow_core.registry import default_registry, read_layer

SMALLER = (
    ("preset: small", "preset: tiny"),
    ("preset=small", "preset=tiny"),
    ("--preset small", "--preset tiny"),
    ('"fitting.steps=100"', '"fitting.steps=5"'),
    ('"grid.yaml", "DIR", workers=2', '"small-grid.yaml", "DIR", workers=1'),
    ("--count 16", "--count 2"),
    ("count=32", "count=2"),
    ("[p01, p02]", "[p01]"),
    ("seed: [0, 1]", "seed: [0]"),
)
"""What a page says, and what takes its place so that a test is quick."""

NOT_RUN = {
    "make": "sets up an environment of its own; the target must exist",
    "pip install": "needs a network; an extra must exist in pyproject.toml",
    "python -m pytest": "runs tests within tests",
    "python docs/images/": "draws pictures from an evaluation of minutes",
    "pytest": "tests/registry/test_registry_new_prior.py runs the tests of templates",
    "python3 -m venv": "the environment is the one that runs the tests",
    ". .venv/bin/activate": "the environment is the one that runs the tests",
    "ruff": "make lint runs it",
    "export MALLOC_": "tells glibc at the start of a process",
}
"""Beginnings of the lines that are not run, each with its reason."""

PLANNED_ONLY = {
    "ablate": ("--dry-run", "--status", "--list"),
}
"""Commands that take long even at preset `tiny`: the first of these options is added where none of them is given."""

SPEC_COMMANDS = ("assemble", "train", "ablate")
GRID_KEYS = {"systems", "tasks", "axes", "claims"}


class Reader:
    """Follows one page.

    Args:
        folder: Current folder of all blocks.
        patch: Undoes what the page changed in this process.
    """

    def __init__(self, folder: Path, patch: pytest.MonkeyPatch):
        self.folder, self.patch = folder, patch
        self.module = ModuleType("page")
        patch.setitem(sys.modules, "page", self.module)
        patch.chdir(folder)
        patch.syspath_prepend(folder)

    @property
    def names(self) -> dict:
        """Python names of the page."""
        return vars(self.module)

    def read(self, block: Block) -> None:
        """Do what a block says; raises AssertionError with its place where that fails."""
        if block.language.startswith("{"):
            return  # a directive of the site, which test_docs_site.py builds
        action = getattr(self, f"_{block.language or 'text'}", None)
        assert action is not None, f"{block.place}: no reader of pages knows blocks of '{block.language}'"
        try:
            action(block)
        except (Exception, SystemExit) as error:
            raise AssertionError(f"{block.place}: {type(error).__name__}: {error}") from error

    def command(self, line: str) -> str:
        """Run a line `lipflow-core …` and return what it prints on both streams."""
        words = shlex.split(line)[1:]
        if words[0] in PLANNED_ONLY and not set(words) & set(PLANNED_ONLY[words[0]]):
            words.append(PLANNED_ONLY[words[0]][0])
        chosen = any(word.startswith("preset=") for word in words) or "--list" in words
        if words[0] in SPEC_COMMANDS and not chosen:
            words.append("preset=tiny")
        if words[0] == "train":
            words.insert(2, "training.stages.0.steps=8")
        code, said = self._called(words)
        assert code == 0, f"`{line}` ended with exit code {code}:\n{said}"
        return said

    def _called(self, words: list[str]) -> tuple[int, str]:
        said = io.StringIO()
        with redirect_stdout(said), redirect_stderr(said):
            code = main(words)
        return code, said.getvalue()

    def install(self, project: Path) -> None:
        """Make a distribution known by its folder and its entry points, as `pip install -e` does."""
        about = tomllib.loads((project / "pyproject.toml").read_text())["project"]
        site = self.folder / f"site-of-{about['name']}"
        metadata = site / f"{about['name'].replace('-', '_')}-{about['version']}.dist-info"
        metadata.mkdir(parents=True)
        version = f"Name: {about['name']}\nVersion: {about['version']}\n"
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\n{version}")
        points = "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
            for group, entries in about["entry-points"].items()
        )
        (metadata / "entry_points.txt").write_text(points)
        self.patch.syspath_prepend(project.resolve())
        self.patch.syspath_prepend(site)
        self._see_registry_anew()

    # Blocks by their language

    def _text(self, block: Block) -> None:
        line = next((line for line in block.text.splitlines() if line.startswith("lipflow-core ")), "")
        assert not line or re.search(r"[A-Z]{3}|…", line), f"a block with the command `{line}` must be of 'sh'"

    def _sh(self, block: Block) -> None:
        for line in smaller(block.text).replace("\\\n", " ").splitlines():
            for part in line.split(" && "):
                if words := shlex.split(part, comments=True):
                    self._line(shlex.join(words))
        self.patch.chdir(self.folder)

    def _line(self, line: str) -> None:
        words = shlex.split(line)
        if words[0] == "lipflow-core":
            self.command(line)
        elif words[:3] == ["pip", "install", "-e"]:
            self.install(Path(words[3].partition("[")[0]))
        elif words[0] == "cd":
            self.patch.chdir(words[1])
        else:
            assert any(line.startswith(start) for start in NOT_RUN), f"`{line}` is neither run nor on the list NOT_RUN"
            if words[0] == "make":
                assert f" {words[1]} " in _phony(), f"`{line}`: Makefile has no such target"
            for extra in re.findall(r"^pip install '?\.\[([\w,]+)\]", line):
                extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
                assert set(extra.split(",")) <= {*extras, "test"}, f"`{line}`: pyproject.toml has no such extra"

    def _console(self, block: Block) -> None:
        for part in re.split(r"^\$ ", block.text, flags=re.MULTILINE)[1:]:
            line, _, shown = part.partition("\n")
            _, said = self._called(shlex.split(line)[1:])
            pattern = ".*".join(re.escape(" ".join(piece.split())) for piece in shown.split("…"))
            said = " ".join(said.split())
            assert re.search(pattern.replace(r"\ .*", ".*"), said), f"`{line}` printed:\n{said}"

    def _python(self, block: Block) -> None:
        if block.file:
            self._write(block.file, block.text)
        code = compile("\n" * block.line + smaller(block.text), str(ROOT / block.page), "exec")
        before = set(self.names)
        with redirect_stdout(io.StringIO()):
            exec(code, self.names)
        for name in self.names.keys() - before:
            if name.startswith("test_"):
                _run_tests(self.names.pop(name))

    def _yaml(self, block: Block) -> None:
        text = smaller(block.text)
        if block.file:
            self._write(block.file, text)
        for number, part in enumerate(_alternatives(text)):
            content = yaml.safe_load(part)
            name = block.file or f"block-{block.line}-{number}.yaml"
            if GRID_KEYS & content.keys():
                whole = {"name": "page", "systems": {"dam": "dam"}, "tasks": ["decode"]} | content
                self._write(name, part if whole == content else yaml.safe_dump(whole))
                self.command(f"lipflow-core ablate {name} preset=tiny --out planned --dry-run")
            else:
                whole = completed(content)
                self._write(name, part if whole == content else yaml.safe_dump(whole))
                self.command(f"lipflow-core assemble {name} preset=tiny --check")

    def _json(self, block: Block) -> None:
        json.loads(block.text)
        if block.file:
            self._write(block.file, block.text)

    def _toml(self, block: Block) -> None:
        content = tomllib.loads(block.text)
        if not content.keys() <= {"plugins", "defaults", "aliases", "data"}:
            return
        file = self._write(f"registry-{block.line}.toml", block.text)
        layer = read_layer(file, "page")
        if all(entry.path is not None and entry.path.exists() for entry in layer.plugins.values()):
            self.add_registry(file)
            for name in layer.plugins:
                plugin = default_registry().plugins[name]
                assert plugin.status not in ("broken", "absent"), f"plugin {name}: {plugin.status}: {plugin.cause}"

    def add_registry(self, file: Path) -> None:
        """Let all blocks that follow know the plugins of a registry file."""
        import os

        files = os.environ.get("LIPFLOW_CORE_REGISTRY", "").split(os.pathsep)
        self.patch.setenv("LIPFLOW_CORE_REGISTRY", os.pathsep.join(filter(None, [*files, str(file.resolve())])))

    def _see_registry_anew(self) -> None:
        """Registries are kept for a folder, its variables and files: one more empty file makes another."""
        count = len(list(self.folder.glob("empty-*.toml")))
        self.add_registry(self._write(f"empty-{count}.toml", ""))

    def _write(self, name: str, text: str) -> Path:
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path


def smaller(text: str) -> str:
    """Replace sizes by quick ones."""
    for said, quick in SMALLER:
        text = text.replace(said, quick)
    return text


def completed(content: dict) -> dict:
    """Complete a part of a spec to a whole one, by lip-flow-hmc."""
    base = yaml.safe_load((ROOT / "specs/lip-flow-hmc.yaml").read_text())
    if "prior" in content:
        del base["flow"]
    return content if {"name", "capture"} <= content.keys() else base | content


def check_arguments(line: str) -> None:
    """Parse a command's arguments without running it.

    A sentence may leave out arguments that are required: it names a command, or one of its options.

    Raises:
        AssertionError: If the command does not exist or would refuse an argument.
    """
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            _parse(line)
    except SystemExit as stop:
        left_out = "the following arguments are required" in said.getvalue()
        assert not stop.code or left_out, f"`{line}`: {said.getvalue()}"


def _parse(line: str) -> None:
    common, (name, *words) = take_common(shlex.split(line, comments=True)[1:])
    if name.startswith("-"):
        return
    if name in OWN:
        from importlib import import_module

        summary, module = OWN[name][0], import_module(OWN[name][1])
    else:
        offers = offers_of(name, default_registry())
        assert offers, f"`{line}`: there is no command {name}"
        offer = offers[0][1]
        summary, module = offer.summary, load(offer)
    parser = command_parser(name, summary)
    module.add_arguments(parser)
    parse(parser, words, common)


def _alternatives(text: str) -> list[str]:
    """Split a block that gives one option several times, a line each, into its lines."""
    lines = [line for line in text.splitlines() if line.strip()]
    keys = [line.partition(":")[0] for line in lines]
    return lines if len(set(keys)) == 1 and len(keys) > 1 else [text]


def _phony() -> str:
    return next(line for line in (ROOT / "Makefile").read_text().splitlines() if line.startswith(".PHONY")) + " "


def _run_tests(function) -> None:
    """Run a test function of a page for every value of its parameter."""
    for mark in getattr(function, "pytestmark", ()):
        (parameter,) = inspect.signature(function).parameters
        for value in mark.args[1]:
            try:
                function(**{parameter: value})
            except pytest.skip.Exception:
                continue
