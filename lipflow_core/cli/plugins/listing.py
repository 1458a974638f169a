"""`lipflow-core plugins list`: imports neither torch nor pydantic nor any component."""

from __future__ import annotations

import argparse
from typing import Any

from lipflow_core.hooks import KINDS
from lipflow_core.registry import Plugin, Registry, default_registry
from lipflow_core.tables import table


def run(args: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    registry = default_registry()
    rows = component_rows(registry)
    if args.kind:
        rows = [row for row in rows if row["kind"] == args.kind]
    plugins = [plugin_row(plugin) for plugin in registry.plugins.values()]
    if args.json:
        import json

        print(json.dumps({"components": rows, "plugins": plugins, "aliases": _aliases(registry)}, indent=2))
        return 0
    print(_text(rows, plugins, registry, origin=args.show_origin))
    return 0


def component_rows(registry: Registry) -> list[dict[str, Any]]:
    """Every component that plugins offer, usable or not, with its status and the reason for it."""
    clashes = {(group[0].kind, group[0].name): group for group in registry.clashes()}
    rows = []
    for component in registry.components():
        plugin, missing = registry.plugin(component), registry.missing(component)
        status, note = "ok", ""
        if group := clashes.get((component.kind, component.name)):
            names = sorted({registry.distribution(each) for each in group})
            status, note = "CLASH", f"offered by {' and '.join(names)}; choose by alias or disable one"
        elif missing:
            cure = f": {component.install}" if component.install else ""
            status, note = "not installed", f"needs {', '.join(missing)}{cure}"
        elif component.deprecated:
            status, note = "deprecated", component.deprecated
        rows.append(_row(plugin, component, status, note))
    for refusal in registry.refusals:
        rows.append(_row(refusal.plugin, refusal.component, "REFUSED", f"{refusal.reason}; {refusal.hint}"))
    return sorted(rows, key=lambda row: (KINDS.index(row["kind"]), row["name"]))


def plugin_row(plugin: Plugin) -> dict[str, Any]:
    """One plugin as data."""
    return {
        "name": plugin.name,
        "status": plugin.status,
        "cause": plugin.cause,
        "source": plugin.source,
        "distribution": plugin.distribution,
        "origin": plugin.origin,
    }


def _row(plugin: Plugin, component: Any, status: str, note: str) -> dict[str, Any]:
    return {
        "kind": component.kind,
        "name": component.name,
        "status": status,
        "note": note,
        "summary": component.summary,
        "plugin": plugin.name,
        "distribution": plugin.distribution,
        "origin": plugin.origin,
        "api": list(component.api),
        "aliases": list(component.aliases),
        "capabilities": sorted(component.capabilities),
        "deprecated": component.deprecated,
        "requires": list(component.requires),
        "install": component.install,
        "implementation": component.implementation,
        "config": component.config,
    }


def _aliases(registry: Registry) -> list[dict[str, str]]:
    return [
        {"kind": kind, "alias": alias, "target": target, "origin": origin}
        for kind, aliases in registry.aliases.items()
        for alias, (target, origin) in sorted(aliases.items())
    ]


def _text(rows: list[dict[str, Any]], plugins: list[dict[str, Any]], registry: Registry, *, origin: bool) -> str:
    extra = ("origin",) if origin else ()
    lines = [
        (
            row["kind"],
            row["name"],
            row["status"],
            row["plugin"] if row["plugin"] == row["distribution"] else f"{row['plugin']} ({row['distribution']})",
            *(row[name] for name in extra),
            row["note"] if row["status"] not in ("ok", "deprecated") else row["summary"],
        )
        for row in rows
    ]
    for plugin in plugins:
        if plugin["status"] != "ok":
            note = plugin["cause"] or "switched off"
            status = plugin["status"].upper() if plugin["status"] == "broken" else plugin["status"]
            lines.append(("-", "-", status, plugin["name"], *(plugin[name] for name in extra), note))
    text = table(("KIND", "NAME", "STATUS", "PLUGIN", *(name.upper() for name in extra), "SUMMARY"), lines)
    aliases = _aliases(registry)
    if aliases:
        columns = ("kind", "alias", "target", *extra)
        cells = [tuple(alias[name] for name in columns) for alias in aliases]
        text += "\n\n" + table(("KIND", "ALIAS", "MEANS", *(name.upper() for name in extra)), cells)
    if origin:
        text += "\n\nlayers, lowest first:\n" + "\n".join(f"  {layer.origin}" for layer in registry.layers)
    return text + "".join(f"\nnote: {note}" for note in registry.notes)
