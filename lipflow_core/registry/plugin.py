"""Holds one plugin with its source, distribution and version, as the layers of the registry define it."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from lipflow_core.hooks import Command, Component
from lipflow_core.registry.layers import Entry

Offer = Component | Command
"""Descriptor of a component or command that a plugin offers."""

Status = Literal["ok", "disabled", "broken"]


@dataclass(eq=False)
class Plugin:
    """Holds one plugin as the layers of the registry define it.

    Attributes:
        name: Name in the registry.
        entry: Merged entries of all layers.
        origin: Layer that decided last.
        status: "ok", "disabled" or "broken".
        cause: Reason why it is broken; None if it is not.
        error: Exception that broke it, if one did.
        offers: Descriptors of its components and commands, with absolute import paths.
    """

    name: str
    entry: Entry
    origin: str
    status: Status = "ok"
    cause: str | None = None
    error: BaseException | None = None
    offers: tuple[Offer, ...] = ()

    @property
    def source(self) -> str:
        """Module or path that the plugin is loaded from."""
        return str(self.entry.path or self.entry.module)

    @property
    def distribution(self) -> str:
        """Name of the distribution that brought it; for a plugin given by path, its name in the registry."""
        if self.entry.distribution is None:
            self.entry = replace(self.entry, distribution=_distribution_of(self))
        return self.entry.distribution

    @property
    def version(self) -> str:
        """Version of its distribution; for a plugin given by path, "sha256:" and a hash of its code."""
        if self.entry.version is not None:
            return self.entry.version
        if self.entry.path is not None:
            return f"sha256:{_hash_of_code(self.entry.path)}"
        import importlib.metadata

        try:
            return importlib.metadata.version(self.distribution)
        except Exception:  # not installed, or damaged in one of many ways
            return _lipflow_version() if self.distribution == "lipflow-core" else "unknown"


def _distribution_of(plugin: Plugin) -> str:
    if plugin.entry.path is not None:
        return plugin.name
    top = plugin.entry.module.partition(":")[0].partition(".")[0]
    return _owners(tuple(sys.path)).get(top, plugin.name)


@cache
def _owners(path: tuple[str, ...]) -> dict[str, str]:
    """Module or package → the distribution that brought it.

    As `importlib.metadata.packages_distributions()`, which one damaged distribution on the path would end.
    """
    import importlib.metadata

    owners: dict[str, str] = {}
    for distribution in importlib.metadata.distributions(path=list(path)):
        try:
            name = distribution.metadata["Name"]
            declared = (distribution.read_text("top_level.txt") or "").split()
            for top in declared or {file.parts[0].removesuffix(".py") for file in distribution.files or ()}:
                if name:
                    owners.setdefault(top, name)
        except Exception:  # damaged in one of many ways
            continue
    return owners


def _hash_of_code(path: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    # Siblings of a single file are not hashed: which of them it imports is not known.
    for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
        digest.update(file.relative_to(path.parent).as_posix().encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:16]


def _lipflow_version() -> str:
    from lipflow_core.version import __version__

    return __version__
