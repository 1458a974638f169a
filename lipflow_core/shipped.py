"""Finds the files that come with lipflow-core: registry.toml, specs/ and, in a checkout, plugins/."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def shipped(name: str) -> Path:
    """Find a shipped file or folder, such as "registry.toml" or "specs".

    A wheel carries them within the package, in lipflow_core/shipped/; in a checkout or an editable install they lie
    beside the package, in the repository's root.

    Raises:
        FileNotFoundError: If the installation is incomplete.
    """
    for place in (_PACKAGE / "shipped" / name, _PACKAGE.parent / name):
        if place.exists():
            return place
    raise FileNotFoundError(f"this installation of lipflow-core lacks its {name}; install it again")


def checkout_plugins() -> Path | None:
    """Find the repository's plugins/ folder; None unless lipflow-core runs from a checkout."""
    folder = _PACKAGE.parent / "plugins"
    return folder if (_PACKAGE.parent / "pyproject.toml").is_file() and folder.is_dir() else None
