"""Writes the reference pages of the site from what the code says: commands, options, exit codes, plugin API."""

from __future__ import annotations

import importlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import get_args

from lipflow_plugins.info import describe, type_name
from pydantic import BaseModel

from lipflow_core.cli.arguments import EXIT_CODES, command_parser
from lipflow_core.cli.commands import OWN, load
from lipflow_core.config import Config, Deferred
from lipflow_core.hooks import KINDS
from lipflow_core.parts import Part
from lipflow_core.registry import installed_registry
from lipflow_core.specs import Spec
from lipflow_core.testing.plugin_api import COMMAND_API, PLUGIN_API

ROOT = Path(__file__).parents[1]

BESIDE = {
    "CONTRIBUTING.md": "contributing",
    "CHANGELOG.md": "changes",
    "benchmarks/README.md": "benchmarks",
    "benchmarks/RESULTS.md": "results",
}
"""Pages outside docs/ → their names in the site."""


def write_reference(folder: Path) -> None:
    """Write all generated pages; a page that is as before is left alone, so that Sphinx need not read it again."""
    folder.mkdir(exist_ok=True)
    pages = {"commands": _commands(), "spec": _spec(), "exit-codes": _exit_codes(), "api": _api()}
    pages |= {f"options-{kind}": _components(kind) for kind in KINDS}
    pages |= {name: _beside(path) for path, name in BESIDE.items()}
    for name, text in pages.items():
        file = folder / f"{name}.md"
        if not file.exists() or file.read_text(encoding="utf-8") != text:
            file.write_text(text, encoding="utf-8")
    for file in folder.glob("*.md"):
        if file.stem not in pages:
            file.unlink()


def links_of_site(text: str, up: str) -> str:
    """Point links to pages outside docs/ at their copies in the site.

    Args:
        text: Markdown of a page in docs/.
        up: Way from the page's folder to docs/, such as "" or "../".
    """
    for path, name in BESIDE.items():
        text = text.replace(f"]({up}../{path}", f"]({up}generated/{name}.md")
    return text


def _beside(path: str) -> str:
    """Copy a page that lies outside docs/, with its links."""
    text = (ROOT / path).read_text(encoding="utf-8")
    for other, name in BESIDE.items():
        text = text.replace(f"]({Path(other).name}", f"]({name}.md")
    return re.sub(r"\]\((?:\.\./)?docs/", "](../", re.sub(r"\[([^]]*)\]\(LICENSE\)", r"\1", text))


def _commands() -> str:
    registry = installed_registry()
    about = "What `lipflow-core COMMAND --help` prints. [The command line](../cli.md) explains it."
    parts = ["# Every command's options", about]
    commands = [(name, *entry) for name, entry in OWN.items()]
    commands += [(command.name, command.summary, command) for command in registry.commands()]
    for name, summary, module in commands:
        parser = command_parser(name, summary)
        (importlib.import_module(module) if isinstance(module, str) else load(module)).add_arguments(parser)
        for title, text in _helps(name, parser):
            parts += [f"## {title}", f"```text\n{text.strip()}\n```"]
    return "\n\n".join(parts) + "\n"


def _helps(name: str, parser) -> Iterator[tuple[str, str]]:
    yield name, parser.format_help()
    for action in parser._actions:
        if isinstance(action.choices, dict):  # subcommands
            for word, sub in action.choices.items():
                yield from _helps(f"{name} {word}", sub)


def _components(kind: str) -> str:
    registry = installed_registry()
    parts = [f"# Options of {kind}s"]
    for component in registry.components(kind):
        said = describe(registry, component)
        more = re.sub(r"^Options of \w+ `[^`]+`\.? ?$|^Options of \w+ `[^`]+`\. ", "", said["help"])
        parts += [f"## {kind} `{said['name']}`", f"{said['summary']}. {more}", f"Plugin `{said['plugin']}`."]
        rows = list(_rows(registry.load_config(component)))
        parts.append(_table(rows) if rows else "It has no options.")
    return "\n\n".join(parts) + "\n"


def _spec() -> str:
    rows = _table(list(_rows(Spec)))
    about = "Where a type is a kind, such as *encoder*, a component's name or block stands."
    return f"# Options of a spec\n\n{about} [Specs](../specs.md) explains them.\n\n{rows}\n"


def _rows(config, prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """Yield option, type, default and documentation, with the options of blocks below their block."""
    for name, field in config.model_fields.items():
        block = next(iter(_blocks(field.annotation)), None)
        default = "required" if field.is_required() else _spelt(config, name, field, block)
        kind = "block" if block else type_name(field.annotation, field.metadata)
        yield prefix + name, kind, default, field.description or ""
        if block and block is not config:
            listed = "list of" in type_name(field.annotation)
            yield from _rows(block, f"{prefix}{name}{'[]' if listed else ''}.")


def _blocks(annotation) -> Iterator[type]:
    """Yield the block that an annotation names: a Config that is no slot of a component."""
    if isinstance(annotation, type) and issubclass(annotation, Config) and not issubclass(annotation, Part):
        if annotation.model_fields and annotation.__name__ != "SameAs":
            yield annotation
        return
    for inner in get_args(annotation):
        yield from _blocks(inner)


def _spelt(config, name: str, field, block) -> str:
    if isinstance(field.default_factory, Deferred):
        return "of `registry.toml`"
    if block:
        return "null" if field.default is None and field.default_factory is None else ""
    value = field.get_default(call_default_factory=True)
    presets = [f"{_code(values[name])} at `{preset}`" for preset, values in config.presets.items() if name in values]
    return "; ".join([_code(value), *presets])


def _code(value) -> str:
    value = value.model_dump(mode="json") if isinstance(value, BaseModel) else value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=_plain)
    return f"`{text}`" if text else '`""`'


def _plain(value):
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else list(value)


def _table(rows: list[tuple[str, str, str, str]]) -> str:
    lines = ["| option | type | default | |", "|---|---|---|---|"]
    for option, kind, default, said in rows:
        cells = [f"`{option}`", kind, default, " ".join(said.split())]
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def _exit_codes() -> str:
    lines = ["# Exit codes", "Every error of the command line ends with one of these.", "| code | meaning |\n|---|---|"]
    for line in EXIT_CODES.splitlines()[1:]:
        code, meaning = line.split(maxsplit=1)
        lines[-1] += f"\n| {code} | {meaning} |"
    lines.append("The classes of errors, which `lipflow_core` raises from Python too:")
    lines.append("```{eval-rst}\n.. automodule:: lipflow_core.errors\n   :members:\n   :no-index:\n```")
    return "\n\n".join(lines) + "\n"


def _api() -> str:
    parts = ["# Modules of the plugin API", "[The plugin API](../plugin-api.md) tells what a plugin may rely on."]
    seen: set[int] = set()
    for name in dict.fromkeys((*PLUGIN_API, *COMMAND_API)):
        module = importlib.import_module(name)
        public = [n for n in getattr(module, "__all__", ()) if id(getattr(module, n)) not in seen and n[0] != "_"]
        members = f"\n   :members: {', '.join(public)}".rstrip()
        seen |= {id(getattr(module, n)) for n in public}
        parts += [f"## `{name}`", f"```{{eval-rst}}\n.. automodule:: {name}{members}\n```"]
    return "\n\n".join(parts) + "\n"
