"""One plugin as the layers settled it: what it is, where it is from, which version."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

from lipflow_core.hooks import Component
from lipflow_core.registry.layers import Entry

Status = Literal["ok", "disabled", "broken"]


@dataclass(eq=False)
class Plugin:
    """One plugin as the layers settled it.

    Attributes:
        name: Its name in the registry.
        entry: What the layers say of it together.
        origin: The layer that decided last.
        status: "ok", "disabled" or "broken".
        cause: Why it is broken.
        components: Its descriptors, import paths made absolute.
    """

    name: str
    entry: Entry
    origin: str
    status: Status = "ok"
    cause: str | None = None
    error: BaseException | None = None
    components: tuple[Component, ...] = ()

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
        if self.entry.path is None:
            import importlib.metadata

            try:
                return importlib.metadata.version(self.distribution)
            except importlib.metadata.PackageNotFoundError:
                return _lipflow_version() if self.distribution == "lipflow-core" else "unknown"
        return f"sha256:{_hash_of_code(self.entry.path)}"


def _distribution_of(plugin: Plugin) -> str:
    if plugin.entry.path is not None:
        return plugin.name
    import importlib.metadata

    top = plugin.entry.module.partition(":")[0].partition(".")[0]
    owners = importlib.metadata.packages_distributions().get(top)
    return owners[0] if owners else plugin.name


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
