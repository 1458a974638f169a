"""`lipflow-core new plugin NAME --kind KIND`: the first files of a plugin, a whole and working one."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from pathlib import Path

from lipflow_core.errors import StorageError, UsageError
from lipflow_core.version import __version__

TEMPLATES = Path(__file__).parent / "templates"

_ABOUT = {
    "capture": ("A mask that puffs and twists, filmed by cameras on an arc", "Capture", "capture: {name}"),
    "encoder": ("2-D keypoints to code, a small network", "Encoder", "driving: {name}"),
    "prior": ("One Gaussian for all codes, its mean and spread learned", "Prior", "prior: {name}"),
    "flow": ("Couplings, one after another", "Flow", "prior: flow\nflow: {name}"),
    "coupling": (
        "Scales and shifts one half of the code, within bounds",
        "Coupling",
        "prior: flow\nflow: {{type: glow, coupling: {name}}}",
    ),
    "decoder": ("A linear mesh and a smooth texture", "Decoder", "decoder: {name}"),
    "renderer": ("Every triangle against every pixel, in plain torch", "Renderer", "renderer: {name}"),
    "objective": (
        "Distance of the decoded mesh to the tracked one, robust to outliers",
        "Objective",
        "fitting:\n  objectives: [{{type: {name}, weight: 1.0}}]",
    ),
}
"""Kind → summary, suffix of the class's name, how a spec names it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`new plugin` and its options."""
    things = parser.add_subparsers(title="things to make", metavar="plugin", dest="thing")
    things.required = True
    summary = "a package with component, options, entry point, tests and README"
    plugin = things.add_parser("plugin", help=summary, formatter_class=parser.formatter_class)
    plugin.add_argument("name", metavar="NAME", help="of component and distribution, such as my-prior")
    plugin.add_argument("--kind", required=True, choices=tuple(_ABOUT), help="which contract it fulfils")
    plugin.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to make the folder NAME")


def run(args: argparse.Namespace) -> int:
    """Write the package and say what to do next."""
    folder = write_plugin(args.name, args.kind, args.out)
    package = args.name.replace("-", "_")
    print(f"wrote {folder}, a working {args.kind} '{args.name}'. Next:")
    print(f"  pip install -e '{folder}[test]'      # or name {folder / package} in your project's registry.toml")
    print(f"  pytest {folder}")
    print(f"  lipflow-core plugins info {args.name}")
    print(f"then make {folder / package / args.kind}.py your own")
    return 0


def write_plugin(name: str, kind: str, parent: Path) -> Path:
    """Write a plugin's package.

    Args:
        name: Of component and distribution: lower case words joined by hyphens.
        kind: Of the component.
        parent: Where the folder `name` is made.

    Returns:
        The folder.

    Raises:
        UsageError: If the name can't be used, or the folder exists.
        StorageError: If it can't be written; then nothing is left behind.
    """
    package = name.replace("-", "_")
    _check_name(name, package, kind)
    folder = parent / name
    if folder.exists():
        raise UsageError(f"{folder} exists", "nothing was changed; choose another name or --out, or remove it")
    files = {
        "pyproject.toml": "package/pyproject.template",
        "README.md": "package/README.md",
        f"{package}/__init__.py": "package/__init__.py",
        "tests/test_conformance.py": "package/test_conformance.py",
        f"tests/test_{package}.py": f"{kind}/test_own.py",
    }
    for source in sorted((TEMPLATES / kind).glob("*.py")):
        if source.name != "test_own.py":
            files[f"{package}/{source.name}"] = f"{kind}/{source.name}"
    replacements = _replacements(name, package, kind)
    _write_folder(
        folder,
        {
            target: _filled((TEMPLATES / source).read_text(encoding="utf-8"), replacements)
            for target, source in files.items()
        },
    )
    return folder


def _check_name(name: str, package: str, kind: str) -> None:
    import importlib.util

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"'{name}' can't be a plugin's name", "use lower case words joined by hyphens, as in my-prior")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or importlib.util.find_spec(package):
        raise UsageError(f"'{name}' can't be a plugin's name: there is a Python module '{package}' already")
    from lipflow_core.registry import default_registry

    if name in default_registry().names(kind):
        raise UsageError(f"there is a {kind} '{name}' already", "see `lipflow-core plugins list`; choose another name")


def _replacements(name: str, package: str, kind: str) -> dict[str, str]:
    summary, suffix, snippet = _ABOUT[kind]
    stem = "".join(word.capitalize() for word in name.split("-"))
    class_name = stem if suffix in stem else stem + suffix
    return {
        "skeleton-name": name,
        "skeleton-kind": kind,
        "skeleton-summary": summary,
        "skeleton-snippet": snippet.format(name=name),
        "skeleton-version": __version__,
        "skeleton_plugin": package,
        "skeleton_kind": kind,
        "SkeletonClass": class_name,
        "Skeleton": class_name,
    }


def _filled(text: str, replacements: dict[str, str]) -> str:
    # Longer words first: "Skeleton" is part of "SkeletonClass".
    words = sorted(replacements, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, words)), lambda match: replacements[match[0]], text)


def _write_folder(folder: Path, files: dict[str, str]) -> None:
    """Write all files or none: into a hidden folder beside, which then takes the name."""
    import os
    import shutil
    import tempfile

    temporary = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
        for target, text in files.items():
            (temporary / target).parent.mkdir(parents=True, exist_ok=True)
            (temporary / target).write_text(text, encoding="utf-8")
        temporary.chmod(0o777 & ~_umask())
        os.rename(temporary, folder)
    except OSError as error:
        raise StorageError(
            f"{folder} can't be written: {error.strerror or error}", "choose another place with --out"
        ) from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)


def _umask() -> int:
    import os

    mask = os.umask(0)
    os.umask(mask)
    return mask
