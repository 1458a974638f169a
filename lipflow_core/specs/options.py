"""Sets options by path, for `key.path=value` on the command line and for the `presets:` of a spec file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from lipflow_core.config import entry_position
from lipflow_core.errors import SpecError
from lipflow_core.specs.document import Document, Origin, Path, read_document


def parse_override(text: str) -> tuple[Path, Document]:
    """Split `key.path=value` into its path and its value, read as YAML.

    Args:
        text: Override such as "training.stages.0.steps=100" or "fitting.pose=null".

    Raises:
        lipflow_core.errors.SpecError: If it is not of that form.
    """
    source = f"override '{text}'"
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise SpecError(f"{source}: is not of the form key.path=value")
    path = parse_path(key.strip(), source)
    if " #" in value and value.lstrip()[:1] not in ("'", '"', "[", "{"):
        value = json.dumps(value.strip(), ensure_ascii=False)  # a command line has no comments
    try:
        document = read_document(f"- {value}\n" if value.strip() else "- ''\n", source)
    except SpecError as error:
        raise SpecError(re.sub(f"^{re.escape(source)}:[0-9]+:[0-9]+", lambda _: source, error.message)) from None
    if not isinstance(document.data, list) or len(document.data) != 1:
        raise SpecError(f"{source}: the value must be one YAML value on one line")
    return path, _single(document, Origin(source))


def parse_path(key: str, source: str) -> Path:
    """Split a path such as "training.stages.0" at its dots; whole numbers are positions in lists."""
    names = key.split(".")
    if not all(names):
        raise SpecError(f"{source}: '{key}' has an empty name between its dots")
    return tuple(int(name) if name.isdecimal() else name for name in names)


def _single(document: Document, origin: Origin) -> Document:
    values = {path[1:]: origin for path in document.values if path}
    return Document(document.data[0], {path: origin for path in values}, values)


def apply_overrides(document: Document, overrides: list[tuple[Path, Document]]) -> None:
    """Set options one after another; components are set before their own options."""

    def depth(override: tuple[Path, Document]) -> int:
        path, _ = override
        return len(path) - 1 if path[-1] == "type" else len(path)

    for path, value in sorted(overrides, key=depth):
        set_option(document, path, value)


def set_option(document: Document, path: Path, value: Document) -> None:
    """Write a value into a document, and make missing mappings around it.

    A mapping is merged into the present one, unless the two name components of different `type`. A slot written as a
    bare name becomes a mapping with that `type`.

    Args:
        document: Document to change in place.
        path: Path of the value.
        value: Value to write, with its origins.

    Raises:
        lipflow_core.errors.SpecError: If the path names a position that a list does not have.
    """
    origin = value.values.get((), Origin("spec"))
    if not isinstance(document.data, dict):
        raise SpecError(f"{origin}: '{_dotted(path)}' can't be set: the document is not a mapping")
    container = document.data
    way: Path = ()
    for name in path[:-1]:
        place = _place(container, name, way, origin)
        inner, way = _get(container, place), (*way, int(place) if str(place).isdecimal() else place)
        if isinstance(inner, str):
            # The bare name of a component: its options need the long form.
            inner = {"type": inner}
            document.values[(*way, "type")] = document.origin(way) or origin
        elif not isinstance(inner, dict | list):
            inner = {}
            document.values.setdefault(way, origin)
        container[place] = inner
        container = inner
    last = _place(container, path[-1], way, origin)
    present = _get(container, last)
    if last == "type" and (present not in (None, value.data) or "same_as" in container):
        for other in [key for key in container if key != "type"]:
            del container[other]
            _forget(document, (*way, other))
    way = (*way, int(last) if str(last).isdecimal() else last)
    if isinstance(present, dict | str) and isinstance(value.data, dict) and _same_component(present, value.data):
        if isinstance(present, str):
            container[last] = {"type": present}
        for key in value.data:
            set_option(document, (*way, key), _at(value, (key,)))
        return
    container[last] = value.data
    _forget(document, way)
    document.keys.update({(*way, *inner): where for inner, where in value.keys.items()})
    document.values.update({(*way, *inner): where for inner, where in value.values.items()})


def _get(container: Any, place: Any) -> Any:
    return container.get(place) if isinstance(container, dict) else container[place]


def _place(container: Any, name: str | int, way: Path, origin: Origin) -> str | int:
    """Return the key in a mapping, or the position in a list; `name` may be a position or a component's type."""
    if isinstance(container, dict):
        return str(name)
    try:
        return entry_position(container, name, _dotted(way))
    except LookupError as error:
        raise SpecError(f"{origin}: {error.args[0]}") from None


def _same_component(present: dict | str, value: Mapping[str, Any]) -> bool:
    if "same_as" in value:
        return False
    now = present if isinstance(present, str) else present.get("type")
    return "type" not in value or now is None or value["type"] == now


def _at(document: Document, path: Path) -> Document:
    data = document.data
    for name in path:
        data = data[name]

    def below(origins: dict[Path, Origin]) -> dict[Path, Origin]:
        return {inner[len(path) :]: where for inner, where in origins.items() if inner[: len(path)] == path}

    return Document(data, below(document.keys), below(document.values))


def _forget(document: Document, path: Path) -> None:
    for origins in (document.keys, document.values):
        for inner in [inner for inner in origins if inner[: len(path)] == path]:
            del origins[inner]


def _dotted(path: Path) -> str:
    return ".".join(map(str, path))


def take_file_presets(document: Document, preset: str) -> None:
    """Merge the active entry of a spec file's own `presets:` over the rest of the file, and remove `presets:`.

    Args:
        document: Document to change in place.
        preset: Name of the active preset.

    Raises:
        lipflow_core.errors.SpecError: If `presets:` is not a mapping of preset names to mappings.
    """
    presets = document.data.pop("presets", None)
    own = Document({"presets": presets}, dict(document.keys), dict(document.values))
    _forget(document, ("presets",))
    if presets is None:
        return
    for name, partial in presets.items() if isinstance(presets, dict) else [(None, presets)]:
        if not isinstance(partial, dict):
            path = ("presets",) if name is None else ("presets", name)
            raise SpecError(f"{own.origin(path)}: {_dotted(path)}: must be a mapping from options to their values")
    for key in presets.get(preset, {}):
        where = own.origin(("presets", preset, key), of_key=True)
        path = parse_path(key, str(where))
        if path[0] in ("preset", "presets", "version"):
            raise SpecError(f"{where}: a preset can't set '{path[0]}'")
        set_option(document, path, _at(own, ("presets", preset, key)))
