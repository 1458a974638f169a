"""Loads a spec file with its presets and overrides to a resolved `Spec`, and dumps it back to YAML."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path as FilePath
from typing import Any

import yaml
from pydantic import ValidationError

from lipflow_core.errors import SpecError
from lipflow_core.file_names import check_file_name
from lipflow_core.registry import Registry, default_registry
from lipflow_core.specs.document import _SCALARS, MAX_CHARACTERS, Document, Origin, Path, read_document
from lipflow_core.specs.model import PRESETS, Spec
from lipflow_core.specs.options import apply_overrides, parse_override, parse_path, take_file_presets
from lipflow_core.specs.problems import spec_error
from lipflow_core.spelling import closest, did_you_mean


def load_spec(
    path_or_name: str | os.PathLike[str] | Mapping[str, Any],
    overrides: Iterable[str] | str | Mapping[str, Any] = (),
    registry: Registry | None = None,
) -> Spec:
    """Load a spec, and resolve its preset and overrides.

    The first of these that sets a value wins: the overrides; the file's own `presets:` entry of the active preset; the
    rest of the file; the active preset of the block or component; its default.

    Args:
        path_or_name: File, name of a shipped spec such as "lip-flow-hmc", or content of a spec as plain data.
        overrides: Changes such as "preset=small", "flow.steps=2" or "training.stages.0.steps=100";
            "fitting.pose=null" removes an optional block. A single change may be given as a string, and several as a
            mapping of paths to values.
        registry: Registry that components are looked up in; the default registry if None.

    Raises:
        lipflow_core.errors.SpecError: If the spec is invalid, listing every problem with file, line and column.
        lipflow_core.errors.PluginError: If the only problems are missing or broken components.

    Example:
        >>> spec = load_spec("lip-flow-hmc", ["preset=tiny", "flow.coupling=affine"])
        >>> spec.code
        8
    """
    registry = registry or default_registry()
    if isinstance(path_or_name, Mapping):
        document, source = Document(_plain(path_or_name)), "spec"
    else:
        file = find_spec(path_or_name)
        document, source = read_document(_read(file), _shown(file)), _shown(file)
    if not isinstance(document.data, dict):
        raise SpecError(f"{document.origin(()) or source}: a spec must be a mapping of options to their values")
    changes = _changes(overrides)
    presets = [value for path, value in changes if path == ("preset",)]
    preset = presets[-1].data if presets else document.data.get("preset", "paper")
    _check_preset_names(document, source)
    take_file_presets(document, preset if preset in PRESETS else "paper")
    apply_overrides(document, changes)
    context = {"registry": registry, "preset": preset if preset in PRESETS else None}
    try:
        spec = Spec.model_validate(document.data, context=context)
    except ValidationError as error:
        raise spec_error(error, document, Spec, registry, source) from None
    spec.__dict__["origins"] = {**document.keys, **document.values}
    return spec


def _changes(overrides: Iterable[str] | str | Mapping[str, Any]) -> list[tuple[Path, Document]]:
    if not isinstance(overrides, Mapping):
        return [parse_override(text) for text in ([overrides] if isinstance(overrides, str) else overrides)]
    found = []
    for key, value in overrides.items():
        source = f"override '{key}'"
        found.append((parse_path(key, source), Document(_plain(value), {}, {(): Origin(source)})))
    return found


def find_spec(path_or_name: str | os.PathLike[str]) -> FilePath:
    """Find the file of a spec by its path, or by the name of a shipped spec.

    Raises:
        lipflow_core.errors.SpecError: If neither exists.
    """
    from lipflow_core.shipped import shipped

    path = FilePath(path_or_name)
    check_file_name(path, SpecError)
    if path.is_file():
        return path
    names = shipped_specs()
    if str(path_or_name) in names:
        return shipped("specs") / f"{path_or_name}.yaml"
    if path.is_dir():
        raise SpecError(f"{path}: is a folder, not a spec", f"A model directory's spec is {path / 'spec.yaml'}.")
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        nearby = [other.name for other in path.parent.glob("*.y*ml")] if path.parent.is_dir() else []
        meant = closest(path.name, nearby)
        cure = f"Did you mean {path.parent / meant}?" if meant else "Shipped specs: lipflow-core assemble --list"
        raise SpecError(f"{path}: there is no such file", cure)
    raise SpecError(
        f"there is no file and no shipped spec '{path_or_name}'{did_you_mean(str(path_or_name), names, '; ')}",
        f"Shipped specs are: {', '.join(names)}.",
    )


def shipped_specs() -> list[str]:
    """List the names of the specs that come with lipflow-core."""
    from lipflow_core.shipped import shipped

    return sorted(file.stem for file in shipped("specs").glob("*.yaml"))


def dump_spec(spec: Spec) -> str:
    """Dump a spec to YAML with every value explicit; it loads to an equal spec even if presets change later."""
    return yaml.dump(
        spec.model_dump(mode="json"), Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100, indent=2
    )


class _Dumper(yaml.SafeDumper):
    """PyYAML's dumper; it quotes strings that either version of YAML would read as another type."""

    yaml_implicit_resolvers = {  # noqa: RUF012
        **yaml.SafeDumper.yaml_implicit_resolvers,
        None: [(tag, pattern) for tag, pattern in _SCALARS.items()],
    }

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        return super().increase_indent(flow, False)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _represent_sequence(dumper: _Dumper, data: list[Any]) -> yaml.Node:
    # Lists of scalars read better on one line.
    flow = all(not isinstance(item, list | dict) for item in data)
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=flow)


_Dumper.add_representer(list, _represent_sequence)


def _read(file: FilePath) -> bytes:
    try:
        with file.open("rb") as stream:
            # One byte more than a spec may have, so that `read_document` reports too long a file.
            return stream.read(4 * MAX_CHARACTERS + 1)
    except OSError as error:
        raise SpecError(f"{file}: can't be read: {error.strerror or error}") from error


def _shown(file: FilePath) -> str:
    try:
        relative = os.path.relpath(file)
    except ValueError:  # another drive on Windows
        return str(file)
    return str(file) if relative.startswith("..") else relative


def _check_preset_names(document: Document, source: str) -> None:
    presets = document.data.get("presets")
    for name in presets if isinstance(presets, dict) else ():
        if name not in PRESETS:
            where = document.origin(("presets", name), of_key=True) or source
            options = ", ".join(PRESETS)
            raise SpecError(
                f"{where}: presets: unknown preset '{name}'{did_you_mean(name, PRESETS, '; ')} options are: {options}"
            )


def _plain(value: Any) -> Any:
    """Copy the mappings and lists in a value to mutable ones; keep everything else, such as a `Part`."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
