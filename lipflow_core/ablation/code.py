"""The code that a cell depends on: versions of the distributions in use, and hashes of those that are being edited.

Imports no torch.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import importlib.util
import json
from collections.abc import Iterable
from functools import cache
from pathlib import Path

from lipflow_core.parts import Part
from lipflow_core.registry import Registry
from lipflow_core.shipped import checkout_plugins
from lipflow_core.version import __version__

CORE = "lipflow-core"
_NO_RESULT = ("ablation", "cli", "testing")
"""Folders of lipflow_core whose code changes no result of a cell."""


def code_of(parts: Iterable[Part], registry: Registry) -> dict[str, str]:
    """Map each package that cells of some components use → its version.

    Of a package that is edited where it lies, in a checkout or an editable install, a hash of its files is added to
    the version: `0.1.0+3fa91c20`. For a plugin given by path the version is a hash of its code.

    Args:
        parts: The components.
        registry: Registry that they come from.
    """
    found = {CORE: core_version()}
    for part in parts:
        plugin = registry.plugin(part.component)
        if plugin.entry.path is not None:
            found[plugin.name] = plugin.version
        elif plugin.distribution == CORE:
            if checkout_plugins() is not None:
                package = plugin.entry.module.partition(".")[0]
                found |= {name: _edited(name, __version__) for name in (package, "lipflow_kit")}
        else:
            edited = _is_editable(plugin.distribution)
            package = plugin.entry.module.partition(":")[0].partition(".")[0]
            found[plugin.distribution] = _edited(package, plugin.version) if edited else plugin.version
    return dict(sorted(found.items()))


@cache
def core_version() -> str:
    """Give the version of lipflow-core, with a hash of its files in a checkout."""
    return __version__ if checkout_plugins() is None else _edited("lipflow_core", __version__)


@cache
def _edited(package: str, version: str) -> str:
    digest = hashlib.sha256()
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return version
    file = Path(spec.origin)
    for path in [file] if file.name != "__init__.py" else sorted(file.parent.rglob("*.py")):
        relative = path.relative_to(file.parent)
        if package == "lipflow_core" and relative.parts[0] in _NO_RESULT:
            continue
        digest.update(relative.as_posix().encode())
        digest.update(path.read_bytes())
    return f"{version}+{digest.hexdigest()[:8]}"


@cache
def _is_editable(distribution: str) -> bool:
    try:
        text = importlib.metadata.distribution(distribution).read_text("direct_url.json")
        return bool(json.loads(text or "{}").get("dir_info", {}).get("editable"))
    except (importlib.metadata.PackageNotFoundError, ValueError, AttributeError):
        return False
