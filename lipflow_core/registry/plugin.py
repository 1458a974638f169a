"""One plugin as the layers settled it: what it is, where it is from, which version."""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from lipflow_core.hooks import Command, Component
from lipflow_core.registry.layers import Entry

Offer = Component | Command
"""What a plugin brings."""

Status = Literal["ok", "disabled", "broken"]


@dataclass(eq=False)
class Plugin:
    """One plugin as the layers settled it.

    Attributes:
        name: Its name in the registry.
        entry: What all layers together say of it.
        origin: The layer that decided last.
        status: "ok", "disabled" or "broken".
        cause: Why it is broken.
        error: The exception that broke it, if one did.
        offers: Its descriptors, import paths made absolute.
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
        """Module or path."""
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
