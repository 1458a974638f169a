"""What the packages of captures may import: nothing in a circle, and the kit nothing above the core's ground floor."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import lipflow_kit
import pytest

PLUGINS = Path(lipflow_kit.__file__).parents[1]


def imported(file: Path) -> set[str]:
    """Modules that a file names in imports, those within functions too."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return names


def modules(package: str) -> dict[str, set[str]]:
    """Module → what it imports, of a package."""
    files = (PLUGINS / package).rglob("*.py")
    return {
        ".".join(file.relative_to(PLUGINS).with_suffix("").parts).removesuffix(".__init__"): imported(file)
        for file in files
    }


@pytest.mark.parametrize("package", ["lipflow_kit", "lipflow_dome", "lipflow_multiface"])
def test_no_modules_import_each_other_in_a_circle(package):
    graph = modules(package)
    within = {name: {other for other in imports if other in graph and other != name} for name, imports in graph.items()}
    TopologicalSorter(within).prepare()


@pytest.mark.parametrize("package", ["lipflow_dome", "lipflow_multiface"])
def test_captures_import_no_other_plugin_but_the_kit(package):
    plugins = {path.name for path in PLUGINS.iterdir() if path.is_dir()} - {"lipflow_kit", package}
    for name, imports in modules(package).items():
        assert not {other.split(".")[0] for other in imports} & plugins, name
