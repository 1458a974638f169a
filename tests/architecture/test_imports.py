"""Which way imports point: no circles in the core, nothing from the core to plugins, plugins keep to the plugin API."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from lipflow_core.registry import default_registry
from lipflow_core.testing.plugin_api import COMMAND_API, PLUGIN_API, foreign_imports, imports_of, reached_from

ROOT = Path(__file__).parents[2]
CORE, PLUGINS = ROOT / "lipflow_core", ROOT / "plugins"
PACKAGES = sorted(path.name for path in PLUGINS.iterdir() if (path / "__init__.py").is_file())

GROUND_FLOOR = ("config", "densities", "errors", "interfaces", "plans", "png", "progress", "records", "storage")
"""What lipflow_kit may import of the core."""

OWN_WORDS = {"cpu", "torch", "flow", "keypoint", "geometry", "divergence", "mixture", "standard-normal"}
"""Names of components that are also words of the core: a device, a package, a kind, a need …"""


def modules_of(folder: Path) -> dict[str, Path]:
    """Name → file of every module below a package's folder; the templates of plugins are no modules."""
    found = {}
    for path in sorted(folder.rglob("*.py")):
        parts = path.relative_to(folder.parent).with_suffix("").parts
        if "templates" not in parts:
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def typing_only(tree: ast.AST) -> set[int]:
    """Lines within `if TYPE_CHECKING:`, which are never executed."""
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If) and ast.unparse(n.test) == "TYPE_CHECKING"]
    return {line for block in blocks for line in range(block.lineno, (block.end_lineno or 0) + 1)}


def imported(module: str, path: Path) -> Iterator[str]:
    """Modules whose code a module runs by importing: those that it names, and the packages around them."""
    skipped, around = typing_only(ast.parse(path.read_text(encoding="utf-8"))), f"{module}."
    for line, name in imports_of(module, path):
        if line in skipped:
            continue
        yield name
        while name := name.rpartition(".")[0]:
            if not around.startswith(f"{name}."):
                yield name


def first_circle(graph: dict[str, set[str]]) -> list[str] | None:
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return error.args[1]
    return None


@pytest.fixture(scope="module")
def core() -> dict[str, set[str]]:
    """Module of the core → modules of the core that it imports."""
    modules = modules_of(CORE)
    return {name: {other for other in imported(name, path) if other in modules} for name, path in modules.items()}


def test_no_circle_of_modules(core):
    assert first_circle({name: others - {name} for name, others in core.items()}) is None


def test_no_circle_of_folders(core):
    def folder(module: str) -> str:
        return ".".join(module.split(".")[:2])

    graph: dict[str, set[str]] = {}
    for name, others in core.items():
        graph.setdefault(folder(name), set()).update(folder(other) for other in others if folder(other) != folder(name))
    assert first_circle(graph) is None


def test_the_core_imports_no_plugin():
    wrong = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for module, path in modules_of(CORE).items()
        for line, name in imports_of(module, path)
        if name.partition(".")[0] in PACKAGES
    ]
    assert not wrong, "\n".join(wrong)


def test_the_core_names_no_plugin_and_no_component():
    shipped = [c.name for c in default_registry().components() if default_registry().distribution(c) == "lipflow-core"]
    names = {*PACKAGES, *shipped} - OWN_WORDS
    wrong = []
    for path in modules_of(CORE).values():
        tree = ast.parse(path.read_text(encoding="utf-8"))
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
                found = names & set(re.findall(r"[\w-]+", node.value))
                wrong += [f"{path.relative_to(ROOT)}:{node.lineno} names {', '.join(found)}"] if found else []
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("package", PACKAGES)
def test_plugins_import_the_plugin_api_and_the_kit_alone(package):
    modules = modules_of(PLUGINS / package)
    others = [
        f"{path.relative_to(ROOT)}:{line} imports {name}"
        for module, path in modules.items()
        for line, name in imports_of(module, path)
        if name.partition(".")[0] in PACKAGES and name.partition(".")[0] not in (package, "lipflow_kit")
    ]
    assert not others
    if package == "lipflow_kit":
        floor = [f"lipflow_core.{name}" for name in GROUND_FLOOR]
        assert not foreign_imports(modules.items(), floor)
        return
    paths = [path for c in default_registry().components() for path in (c.implementation, c.config)]
    entries = {path.partition(":")[0] for path in paths} & modules.keys()
    components = reached_from([package, *entries])
    assert not foreign_imports(components.items(), PLUGIN_API)
    commands = {name: path for name, path in modules.items() if name not in components}
    assert not foreign_imports(commands.items(), PLUGIN_API + COMMAND_API)


def test_the_page_of_the_plugin_api_lists_its_modules():
    page = (ROOT / "docs" / "plugin-api.md").read_text(encoding="utf-8")
    rows = [line for line in page.splitlines() if line.startswith("| `lipflow_core")]
    assert set(re.findall(r"`(lipflow_core[\w.]*)`", "\n".join(row.split(" | ")[0] for row in rows))) == {
        *PLUGIN_API,
        *COMMAND_API,
    }


def test_options_and_descriptors_need_no_torch_for_what_the_page_says_has_none():
    page = (ROOT / "docs" / "plugin-api.md").read_text(encoding="utf-8")
    light = re.findall(r"^\| `([\w.]+)` \|.*\| no \|$", page, re.MULTILINE)
    program = f"import sys, {', '.join(light)}; sys.exit('torch' in sys.modules)"
    assert len(light) == 9 and subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
