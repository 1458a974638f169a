"""`lipflow-core plugins doctor`: the environment, and what in it is broken, missing or slow."""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import os
import platform
import sys
from dataclasses import dataclass
from typing import Literal

from lipflow_core.errors import PluginError
from lipflow_core.hooks import API_VERSION, KINDS
from lipflow_core.registry import Registry, default_registry
from lipflow_core.tables import counted
from lipflow_core.version import __version__

_REPORTED = ("torch", "numpy", "numba", "pydantic", "pluggy", "lightning-fabric", "nflows", "safetensors", "roma")
_EXTRAS = {"altair": ("charts in reports", "pip install 'lipflow-core[report]'")}


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at: whether it is well, what was seen, and what to do where it is not."""

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
            print(f"{finding.status:<8} {finding.subject}: {finding.text}")
            if finding.cure:
                print(f"{'':<8} → {finding.cure}")
        counts = {status: sum(f.status == status for f in findings) for status in ("error", "warning")}
        print(f"{len(findings)} looked at, {', '.join(counted(n, status) for status, n in counts.items())}")
    return PluginError.exit_code if any(finding.status == "error" for finding in findings) else 0


def _environment() -> list[Finding]:
    api = ".".join(map(str, API_VERSION))
    found = [
        Finding("ok", "lipflow-core", f"{__version__}, plugin API {api}"),
        Finding("ok", "python", f"{platform.python_version()} at {sys.executable}, {platform.platform()}"),
    ]
    for name in _REPORTED:
        try:
            found.append(Finding("ok", name, importlib.metadata.version(name)))
        except importlib.metadata.PackageNotFoundError:
            found.append(Finding("error", name, "not installed", "pip install --upgrade lipflow-core"))
    for name, (use, cure) in _EXTRAS.items():
        if importlib.util.find_spec(name) is None:
            found.append(Finding("warning", name, f"not installed: no {use}", cure))
    return found


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
            found.append(Finding("ok", what, f"{len(plugin.components)} components, {plugin.source}"))
    for refusal in registry.refusals:
        found.append(Finding("error", f"plugin {refusal.plugin.name}", refusal.reason, refusal.hint))
    for group in registry.clashes():
        owners = " and ".join(registry.distribution(component) for component in group)
        component = group[0]
        cure = f'[aliases.{component.kind}] {component.name} = "{registry.spelling(component)}" in a registry.toml'
        found.append(Finding("error", f"{component.kind} {component.name}", f"offered by {owners}", cure))
    for component in registry.components():
        what = f"{component.kind} {component.name}"
        if missing := registry.missing(component):
            found.append(Finding("warning", what, f"needs {', '.join(missing)}, not installed", component.install))
        try:
            registry.load_config(component)
        except PluginError as error:
            found.append(Finding("error", what, error.message, error.hint))
    found += [_dangling(registry, kind, alias) for kind in KINDS for alias in registry.aliases[kind]]
    found += [Finding("warning", "registry", note, "remove the name, or install the plugin") for note in registry.notes]
    return [finding for finding in found if finding is not None]


def _says_something(layer: object) -> bool:
    return bool(layer.plugins or layer.aliases)


def _dangling(registry: Registry, kind: str, alias: str) -> Finding | None:
    target, origin = registry.aliases[kind][alias]
    try:
        registry.component(kind, alias)
    except PluginError as error:
        return Finding("error", f"alias {alias}", error.message, f"correct or remove it in {origin}")
    return Finding("ok", f"alias {alias}", f"{kind} {target}, by {origin}")
