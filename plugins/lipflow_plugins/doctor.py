"""`lipflow-core plugins doctor`: find what is broken, missing or slow in this environment."""

from __future__ import annotations

import argparse
import importlib.metadata
import os
import platform
import sys
from dataclasses import dataclass
from typing import Literal

from lipflow_core.cli.commands import clash, clashes, load
from lipflow_core.errors import PluginError
from lipflow_core.hooks import API_VERSION, KINDS, Command
from lipflow_core.registry import Registry, default_registry
from lipflow_core.registry.plugin import Offer
from lipflow_core.tables import counted, printable
from lipflow_core.version import __version__

_ALWAYS = ("torch", "numpy", "pydantic", "pluggy")
"""Examined even where lipflow-core runs from a checkout whose metadata name no requirements."""


@dataclass(frozen=True)
class Finding:
    """One thing that was examined: whether it is in order, what was found, and what to do if it is not."""

    status: Literal["ok", "warning", "error"]
    subject: str
    text: str
    cure: str | None = None


def run(args: argparse.Namespace) -> int:
    """Print all findings; 5 if one of them is an error."""
    findings = [*_environment(), *_devices()]
    try:
        findings += _plugins(default_registry())
    except PluginError as error:
        findings.append(Finding("error", "registry", error.message, error.hint))
    if args.json:
        import json
        from dataclasses import asdict

        print(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        for finding in findings:
            print(printable(f"{finding.status:<8} {finding.subject}: {finding.text}", lines=False))
            if finding.cure:
                print(printable(f"{'':<8} → {finding.cure}"))
        counts = {status: sum(f.status == status for f in findings) for status in ("error", "warning")}
        print(f"{len(findings)} examined, {', '.join(counted(n, status) for status, n in counts.items())}")
    return PluginError.exit_code if any(finding.status == "error" for finding in findings) else 0


def _environment() -> list[Finding]:
    api = ".".join(map(str, API_VERSION))
    found = [
        Finding("ok", "lipflow-core", f"{__version__}, plugin API {api}"),
        Finding("ok", "python", f"{platform.python_version()} at {sys.executable}, {platform.platform()}"),
    ]
    for name in _requirements():
        try:
            found.append(Finding("ok", name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding("error", name, "not installed", "pip install --upgrade lipflow-core"))
        except Exception as error:
            cure = f"pip install --force-reinstall {name}"
            found.append(Finding("error", name, f"its installation is damaged: {error}", cure))
    return found


def _requirements() -> list[str]:
    """List the distributions that lipflow-core requires."""
    import re

    try:
        needed = importlib.metadata.requires("lipflow-core") or ()
    except Exception:  # not installed, or damaged
        needed = ()
    names = [re.match(r"[\w.-]+", text)[0] for text in needed if "extra ==" not in text]
    return list(dict.fromkeys([*_ALWAYS, *sorted(names)]))


def _devices() -> list[Finding]:
    try:
        import torch
    except Exception as error:
        return [Finding("error", "torch", f"can't be imported: {error}", "install torch again")]
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = torch.get_num_threads()
    found = [Finding("ok", "threads", f"torch uses {threads} of {cores} cores available to this process")]
    if threads > cores:
        found[-1] = Finding(
            "warning",
            "threads",
            f"torch uses {threads} threads on {cores} cores",
            f"lower them with OMP_NUM_THREADS={cores} or training.threads={cores}",
        )
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            properties = torch.cuda.get_device_properties(index)
            memory = properties.total_memory / 2**30
            found.append(Finding("ok", f"cuda:{index}", f"{properties.name}, {memory:.0f} GiB"))
    elif torch.version.cuda is not None and os.path.exists("/proc/driver/nvidia/version"):
        found.append(
            Finding(
                "warning",
                "cuda",
                "there is an NVIDIA driver, but torch can't use it",
                f"compare `nvidia-smi` with the CUDA {torch.version.cuda} that torch was built for",
            )
        )
    else:
        found.append(Finding("ok", "cuda", "none; everything runs on the CPU"))
    return found


def _plugins(registry: Registry) -> list[Finding]:
    found = [Finding("ok", "registry", f"layer: {layer.origin}") for layer in registry.layers if _says_something(layer)]
    for plugin in registry.plugins.values():
        what = f"plugin {plugin.name}"
        if plugin.status == "broken":
            cure = f"correct it, or switch it off: --disable {plugin.name}"
            found.append(Finding("error", what, f"BROKEN, {plugin.cause} (from {plugin.origin})", cure))
        elif plugin.status == "disabled":
            found.append(Finding("ok", what, f"switched off by {plugin.origin}"))
        else:
            found.append(Finding("ok", what, f"{_offered(plugin.offers)}, {plugin.source}"))
    for refusal in registry.refusals:
        found.append(Finding("error", f"plugin {refusal.plugin.name}", refusal.reason, refusal.hint))
    for group in registry.clashes():
        owners = " and ".join(registry.distribution(component) for component in group)
        component = group[0]
        cure = f'[aliases.{component.kind}] {component.name} = "{registry.spelling(component)}" in a registry.toml'
        found.append(Finding("error", f"{component.kind} {component.name}", f"offered by {owners}", cure))
    for name, offers in clashes(registry).items():
        error = clash(name, offers)
        found.append(Finding("error", f"command {name}", error.message, error.hint))
    for offer in (*registry.components(), *registry.commands()):
        what = f"{offer.kind} {offer.name}"
        if missing := registry.missing(offer):
            found.append(Finding("warning", what, f"needs {', '.join(missing)}, not installed", offer.install))
        try:
            if not isinstance(offer, Command):
                registry.load_config(offer)
            elif not missing:
                load(offer)
        except PluginError as error:
            found.append(Finding("error", what, error.message, error.hint))
    found += [_dangling(registry, kind, alias) for kind in KINDS for alias in registry.aliases[kind]]
    found += [Finding("warning", "registry", note, "remove the name, or install the plugin") for note in registry.notes]
    return [finding for finding in found if finding is not None]


def _offered(offers: tuple[Offer, ...]) -> str:
    commands = sum(isinstance(offer, Command) for offer in offers)
    counts = {"component": len(offers) - commands, "command": commands}
    return ", ".join(counted(count, noun) for noun, count in counts.items() if count) or "nothing"


def _says_something(layer: object) -> bool:
    return bool(layer.plugins or layer.aliases)


def _dangling(registry: Registry, kind: str, alias: str) -> Finding | None:
    target, origin = registry.aliases[kind][alias]
    try:
        registry.component(kind, alias)
    except PluginError as error:
        return Finding("error", f"alias {alias}", error.message, f"correct or remove it in {origin}")
    return Finding("ok", f"alias {alias}", f"{kind} {target}, by {origin}")
