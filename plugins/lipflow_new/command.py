"""`lipflow-core new plugin NAME --kind KIND`: write the first files of a plugin, a whole and working one."""

from __future__ import annotations

import argparse
import keyword
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from lipflow_core.cli.commands import OWN
from lipflow_core.errors import UsageError
from lipflow_core.storage import written_folder
from lipflow_core.version import __version__

TEMPLATES = Path(__file__).parent / "templates"


@dataclass(frozen=True)
class Template:
    """Describes the plugin that a kind's template makes.

    Args:
        summary: Summary in one line.
        suffix: End of the class's name; None if the plugin has no class.
        snippet: Part of a spec that names the component; "{name}" stands for its name, "{flow}" for the default flow.
    """

    summary: str
    suffix: str | None = None
    snippet: str = ""


_KINDS = {
    "capture": Template("A mask that puffs and twists, filmed by cameras on an arc", "Capture", "capture: {name}"),
    "encoder": Template("2-D keypoints to code, a small network", "Encoder", "driving: {name}"),
    "prior": Template("One Gaussian for all codes, its mean and spread learned", "Prior", "prior: {name}"),
    "flow": Template("Couplings, one after another", "Flow", "flow: {name}"),
    "coupling": Template(
        "Scales and shifts one half of the code, within bounds", "Coupling", "flow: {{type: {flow}, coupling: {name}}}"
    ),
    "decoder": Template("A linear mesh and a smooth texture", "Decoder", "decoder: {name}"),
    "renderer": Template("Every triangle against every pixel, in plain torch", "Renderer", "renderer: {name}"),
    "objective": Template(
        "Distance of the decoded mesh to the tracked one, robust to outliers",
        "Objective",
        "fitting:\n  objectives: [{{type: {name}, weight: 1.0}}]",
    ),
    "optimizer": Template(
        "Steps that grow while a gradient keeps its sign", "Optimizer", "fitting:\n  optimizer: {name}"
    ),
    "temporal": Template("Codes move at a steady pace", "Prior", "fitting:\n  temporal: {name}"),
    "metric": Template(
        "Distance within which most decoded vertices lie from the tracked ones",
        "Metric",
        "evaluation:\n  metrics: [{name}]",
    ),
    "command": Template("Lists the arrays in a model's weights"),
}
_DRIVING = Template("A Gaussian predicted from what the driving encoder sees", "Prior", "prior: {name}")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add `plugin` and its options."""
    things = parser.add_subparsers(title="things to make", metavar="plugin", dest="thing")
    things.required = True
    plugin = things.add_parser("plugin", help="write a package with code, options, entry point, tests and README")
    plugin.add_argument("name", metavar="NAME", help="name of component or command, and of the package: my-prior")
    plugin.add_argument(
        "--kind", metavar="KIND", required=True, choices=tuple(_KINDS), help=f"one of: {', '.join(_KINDS)}"
    )
    plugin.add_argument("--class", dest="class_name", metavar="CLASS", help="name of its class (default: from NAME)")
    plugin.add_argument("--driving", action="store_true", help="make a prior that is given the driving encoder's view")
    plugin.add_argument("--out", type=Path, default=Path(), metavar="DIR", help="where to make the folder NAME")


def run(args: argparse.Namespace) -> int:
    """Write the package and say what to do next."""
    if args.driving and args.kind != "prior":
        raise UsageError(f"--driving is for priors, not for a {args.kind}", "leave it out")
    folder = write_plugin(args.name, args.kind, args.out, class_name=args.class_name, driving=args.driving)
    package = args.name.replace("-", "_")
    file = folder / package / f"{args.kind}.py"
    first_look = f"{args.name} --help" if args.kind == "command" else f"plugins info {args.name}"
    print(f"wrote {folder}, a working {args.kind} '{args.name}'. Next:")
    print(f"  pip install -e '{folder}[test]'      # or name {folder / package} in your project's registry.toml")
    print(f"  pytest {folder}")
    print(f"  lipflow-core {first_look}")
    print(f"then change {file} into your own" + ("" if args.kind == "command" else "; --class names its class"))
    return 0


def write_plugin(name: str, kind: str, parent: Path, *, class_name: str | None = None, driving: bool = False) -> Path:
    """Write a plugin's package.

    Args:
        name: Name of the component or command, and of the distribution: lower case words joined by hyphens.
        kind: Kind of the component, or "command".
        parent: Folder in which the folder `name` is made.
        class_name: Name of the component's class; made from `name` if None.
        driving: Whether a prior is given the driving encoder's view.

    Returns:
        The folder.

    Raises:
        UsageError: If a name can't be used, or the folder exists.
        StorageError: If it can't be written; then nothing is left behind.
    """
    package = name.replace("-", "_")
    _check_name(name, package, kind)
    template, about = ("prior-driving", _DRIVING) if driving else (kind, _KINDS[kind])
    class_name = _class_name(name, template, about, class_name)
    folder = parent / name
    if folder.exists():
        raise UsageError(f"{folder} exists", "nothing was changed; choose another name or --out, or remove it")
    words = _replacements(name, package, kind, about, class_name)
    with written_folder(folder) as new:
        for target, source in _files(template, package).items():
            (new / target).parent.mkdir(exist_ok=True)
            (new / target).write_text(_filled(source.read_text(encoding="utf-8"), words), encoding="utf-8")
    return folder


def _files(template: str, package: str) -> dict[str, Path]:
    """File of the plugin → file of the template. A kind's own files stand before those of every package."""
    common, own = TEMPLATES / "package", TEMPLATES / template
    sources = {file.name: file for folder in (common, own) for file in sorted(folder.iterdir()) if file.is_file()}
    # Names of test files hold the package's: pytest would mistake files of one name in two plugins for each other.
    targets = {
        "pyproject.template": "pyproject.toml",
        "README.md": "README.md",
        "test_own.py": f"tests/test_{package}.py",
        "test_conformance.py": f"tests/test_{package}_conformance.py",
    }
    if template == "command":
        del sources["test_conformance.py"]
    return {targets.get(name, f"{package}/{name}"): source for name, source in sources.items()}


def _check_name(name: str, package: str, kind: str) -> None:
    import importlib.util

    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise UsageError(f"'{name}' can't be a plugin's name", "use lower case words joined by hyphens, as in my-prior")
    if keyword.iskeyword(package) or package in sys.stdlib_module_names or importlib.util.find_spec(package):
        raise UsageError(f"'{name}' can't be a plugin's name: there is a Python module '{package}' already")
    from lipflow_core.registry import default_registry

    registry = default_registry()
    taken = {*OWN, *(c.name for c in registry.commands())} if kind == "command" else registry.names(kind)
    if name in taken:
        raise UsageError(f"there is a {kind} '{name}' already", "see `lipflow-core plugins list`; choose another name")


def _class_name(name: str, template: str, about: Template, wanted: str | None) -> str | None:
    """Choose the class's name: the one that is wanted, or one made from the component's: my-prior → MyPrior."""
    if about.suffix is None:
        if wanted is not None:
            raise UsageError(f"--class {wanted}: a command has no class", "leave it out")
        return None
    stem = "".join(word.capitalize() for word in name.split("-"))
    chosen = wanted or (stem if stem.endswith(about.suffix) and stem != about.suffix else stem + about.suffix)
    used = {
        word for file in (TEMPLATES / template).glob("*.py") for word in re.findall(r"\w+", file.read_text("utf-8"))
    }
    if not chosen.isidentifier() or keyword.iskeyword(chosen) or chosen in used:
        raise UsageError(f"--class {chosen}: the class can't have this name", "use another one, such as LaplacePrior")
    return chosen


def _replacements(name: str, package: str, kind: str, about: Template, class_name: str | None) -> dict[str, str]:
    from lipflow_core.registry import default_registry

    flow = default_registry().default("flow") if "{flow}" in about.snippet else ""
    words = {
        "skeleton-name": name,
        "skeleton-kind": kind,
        "skeleton-summary": about.summary,
        "skeleton-snippet": about.snippet.format(name=name, flow=flow),
        "skeleton-version": __version__,
        "skeleton_plugin": package,
        "skeleton_kind": kind,
    }
    return words if class_name is None else {**words, "SkeletonClass": class_name, "Skeleton": class_name}


def _filled(text: str, replacements: dict[str, str]) -> str:
    # Longer words first: "Skeleton" is part of "SkeletonClass".
    words = sorted(replacements, key=len, reverse=True)
    return re.sub("|".join(map(re.escape, words)), lambda match: replacements[match[0]], text)
