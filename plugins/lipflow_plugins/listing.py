"""`lipflow-core plugins list`: list components and commands. Imports neither torch nor pydantic nor any of them."""

from __future__ import annotations

import argparse
from typing import Any

from lipflow_core.cli.commands import clashes
from lipflow_core.hooks import KINDS
from lipflow_core.registry import Plugin, Registry, default_registry
from lipflow_core.registry.plugin import Offer
from lipflow_core.tables import printable, table

ORDER = (*KINDS, "command")


def run(args: argparse.Namespace) -> int:
    """Print the table, or JSON."""
    registry = default_registry()
    rows = [row for row in offer_rows(registry) if args.kind in (None, row["kind"])]
    plugins = [plugin_row(plugin) for plugin in registry.plugins.values()]
    if args.json:
        import json

        commands = [row for row in rows if row["kind"] == "command"]
        components = [row for row in rows if row["kind"] != "command"]
        found = {"components": components, "commands": commands, "plugins": plugins, "aliases": _aliases(registry)}
        print(json.dumps(found, indent=2))
        return 0
    print(_text(rows, plugins, registry, origin=args.show_origin))
    return 0


def offer_rows(registry: Registry) -> list[dict[str, Any]]:
    """List every component and command that plugins offer, usable or not, with its status and the reason for it."""
    clashing = {(group[0].kind, group[0].name): group for group in registry.clashes()}
    owners = {key: sorted({registry.distribution(each) for each in group}) for key, group in clashing.items()}
    for name, group in clashes(registry).items():
        owners["command", name] = sorted({plugin.distribution if plugin else "lipflow-core" for plugin, _ in group})
    rows = []
    for offer in (*registry.components(), *registry.commands()):
        missing, deprecated = registry.missing(offer), getattr(offer, "deprecated", None)
        status, note = "ok", ""
        if names := owners.get((offer.kind, offer.name)):
            cure = "disable one" if offer.kind == "command" else "choose by alias or disable one"
            status, note = "CLASH", f"offered by {' and '.join(names)}; {cure}"
        elif missing:
            status, note = "not installed", f"needs {', '.join(missing)}{f': {offer.install}' if offer.install else ''}"
        elif deprecated:
            status, note = "deprecated", deprecated
        rows.append(_row(registry.plugin(offer), offer, status, note))
    for refusal in registry.refusals:
        rows.append(_row(refusal.plugin, refusal.offer, "REFUSED", f"{refusal.reason}; {refusal.hint}"))
    return sorted(rows, key=lambda row: (ORDER.index(row["kind"]), row["name"]))


def plugin_row(plugin: Plugin) -> dict[str, Any]:
    """Describe a plugin as data."""
    return {
        "name": plugin.name,
        "status": plugin.status,
        "cause": plugin.cause,
        "source": plugin.source,
        "distribution": plugin.distribution,
        "origin": plugin.origin,
    }


def _row(plugin: Plugin, offer: Offer, status: str, note: str) -> dict[str, Any]:
    said = {name: sorted(v) if isinstance(v, frozenset) else v for name, v in vars(offer).items()}
    where = {"plugin": plugin.name, "distribution": plugin.distribution, "origin": plugin.origin}
    return {"kind": offer.kind, "name": offer.name, "status": status, "note": note, **where, **said}


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
    return text + "".join(f"\nnote: {printable(note, lines=False)}" for note in registry.notes)
