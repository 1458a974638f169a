"""Lists the plugin API, the modules of lipflow_core that plugins may import, and finds imports of others."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

PLUGIN_API = (
    "lipflow_core.config",
    "lipflow_core.densities",
    "lipflow_core.errors",
    "lipflow_core.hooks",
    "lipflow_core.interfaces",
    "lipflow_core.parts",
    "lipflow_core.plans",
    "lipflow_core.png",
    "lipflow_core.progress",
    "lipflow_core.records",
    "lipflow_core.selection",
    "lipflow_core.storage",
    "lipflow_core.testing",
)
"""Modules that components and their options may import. All others may change in any release."""

COMMAND_API = (
    "lipflow_core",
    "lipflow_core.cli",
    "lipflow_core.evaluation",
    "lipflow_core.fitting",
    "lipflow_core.observing",
    "lipflow_core.pictures",
    "lipflow_core.registry",
    "lipflow_core.results",
    "lipflow_core.specs",
    "lipflow_core.spelling",
    "lipflow_core.splits",
    "lipflow_core.tables",
    "lipflow_core.version",
)
"""Modules that the code of commands may import besides. "lipflow_core" means its public names, such as `open_model`."""


def foreign_imports(files: Iterable[tuple[str, Path]], allowed: Collection[str]) -> list[str]:
    """Find imports of modules of lipflow_core that are not allowed.

    Args:
        files: Names and files of the modules to read.
        allowed: Modules that may be imported. A package includes its modules; "lipflow_core" means itself alone.

    Returns:
        A line "FILE:LINE imports MODULE" for each import.
    """
    return [
        f"{path.name}:{line} imports {imported}"
        for name, path in files
        for line, imported in imports_of(name, path)
        if imported.partition(".")[0] == "lipflow_core" and not _is_allowed(imported, allowed)
    ]


def _is_allowed(module: str, allowed: Collection[str]) -> bool:
    return module in allowed or any(module.startswith(f"{name}.") for name in allowed if "." in name)


def reached_from(modules: Iterable[str]) -> dict[str, Path]:
    """Follow the imports of modules as far as they stay within the modules' own top-level packages.

    Args:
        modules: Names of modules that can be imported.

    Returns:
        Name → file of each module reached, those named among them.
    """
    waiting = list(modules)
    packages = {name.partition(".")[0] for name in waiting}
    found: dict[str, Path] = {}
    while waiting:
        name = waiting.pop()
        if name in found or name.partition(".")[0] not in packages:
            continue
        if parent := name.rpartition(".")[0]:
            waiting.append(parent)
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.origin is not None and spec.origin.endswith(".py"):
            found[name] = Path(spec.origin)
            waiting += [imported for _, imported in imports_of(name, found[name])]
    return found


def imports_of(module: str, path: Path) -> Iterator[tuple[int, str]]:
    """Read which modules a file imports, within functions too; nothing is executed.

    Args:
        module: Name of the module, for relative imports.
        path: File of the module.

    Yields:
        Line and absolute name of a module. `from a import b` is "a.b" if that is a module.
    """
    package = module.split(".") if path.name == "__init__.py" else module.split(".")[:-1]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"), str(path))):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{base}.{alias.name}" if _is_module(f"{base}.{alias.name}") else base


def _is_module(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except (ImportError, AttributeError, ValueError):
        return False
