"""Turns pydantic's errors into messages for the spec's author: place, problem, likely meaning, known options."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, get_args, get_origin

from pydantic import ValidationError

from lipflow_core.config import Config, block_in, types_in
from lipflow_core.errors import LipflowError, PluginError, SpecError
from lipflow_core.parts import SlotOf
from lipflow_core.specs.document import Document, Path
from lipflow_core.spelling import did_you_mean

if TYPE_CHECKING:
    from lipflow_core.hooks import Kind
    from lipflow_core.registry import Registry


_PLAIN = {
    "a valid tuple": "a list",
    "a valid list": "a list",
    "a valid dictionary": "a mapping",
    "a valid integer": "a whole number",
    "a valid ": "a ",
}

_PATTERNS = {
    r"^[a-zA-Z0-9][a-zA-Z0-9_-]*$": "should be letters, digits, '_' and '-', the first a letter or a digit",
    r"^[a-zA-Z0-9][a-zA-Z0-9._-]*$": "should be letters, digits, '.', '_' and '-', the first a letter or a digit",
}
"""Descriptions of the patterns of the spec's names."""


def spec_error(
    error: ValidationError, document: Document, model: type[Config], registry: Registry, source: str
) -> LipflowError:
    """Make one error that lists every problem.

    Args:
        error: Error that validation raised.
        document: Document that was validated, with its origins.
        model: Model that it was validated as.
        registry: Registry that components were looked up in.
        source: Name of the file, for problems without an origin.

    Returns:
        A PluginError if every problem is a missing or broken component, else a SpecError.
    """
    found = _without_branches(error, document.data)
    lines = [_line(path, details, document, model, registry, source) for path, details in found]
    plugins_only = all(_is_plugin_problem(details, registry) for _, details in found)
    lines = sorted(dict.fromkeys(lines), key=lambda line: line[0])
    count = f"{len(lines)} problems:\n" if len(lines) > 1 else ""
    return (PluginError if plugins_only else SpecError)(count + "\n".join(text for _, text in lines))


def _line(
    path: Path, details: Mapping[str, Any], document: Document, model: type[Config], registry: Registry, source: str
) -> tuple[tuple[int, int], str]:
    kind = details["type"]
    if kind == "component" and (*path, "type") in document.values:
        path = (*path, "type")
    origin = document.origin(path, of_key=kind == "extra_forbidden")
    message = _message(kind, path, details, model, document.data, registry)
    place = ".".join(map(str, path))
    order = (origin.line, origin.column) if origin else (0, 0)
    return order, ": ".join(filter(None, (str(origin or source), place, message)))


def _message(
    kind: str, path: Path, details: Mapping[str, Any], model: type[Config], data: Any, registry: Registry
) -> str:
    context, value = details.get("ctx", {}), details.get("input")
    if kind == "extra_forbidden":
        block = _block_at(model, path[:-1], data, registry)
        options = list(block.model_fields) if block else []
        listed = f" options are: {', '.join(options)}" if options else " it has no options"
        elsewhere = _elsewhere(str(path[-1]), block, path[:-1])
        meant = f"; did you mean {' or '.join(elsewhere)}?" if elsewhere else did_you_mean(str(path[-1]), options, "; ")
        return f"unknown option '{path[-1]}'{meant or (';' if options else ':')}{listed}"
    if kind == "missing":
        slot = _slot_at(model, path, data, registry)
        return f"is required; choose from: {', '.join(registry.names(slot))}" if slot else "is required"
    if kind == "component":
        error: LipflowError = context["error"]
        return error.message if error.hint is None else f"{error.message}; {error.hint}"
    if kind == "literal_error":
        choices = context["expected"]
        options = choices.replace("'", "").replace(" or ", ", ").split(", ")
        meant = did_you_mean(value, options, "; ") if isinstance(value, str) else ""
        return f"should be {choices}, got {_shown(value)}{meant}"
    message = details["msg"].removeprefix("Value error, ").removeprefix("Assertion failed, ")
    if kind == "too_short":
        return f"should have at least {_entries(context['min_length'])}, got {context['actual_length']}"
    if kind == "too_long":
        return f"should have at most {_entries(context['max_length'])}, got {context['actual_length']}"
    if message.startswith(("Input should", "String should")):
        message = "should" + message.partition("should")[2].partition(", unable to")[0].partition(", got ")[0]
        message = re.sub(r"a valid dictionary or instance of \w+", "a mapping of options", message)
        for technical, plain in _PLAIN.items():
            message = message.replace(technical, plain)
        if kind == "string_pattern_mismatch":
            message = _PATTERNS.get(context["pattern"], f"should match the pattern {context['pattern']}")
        return f"{message}, got {_shown(value)}"
    return message


def _elsewhere(name: str, block: type[Config] | None, path: Path) -> list[str]:
    """Find options of that name or with these initials in nested blocks: `lr` may mean `learning_rate`."""
    found: list[str] = []
    for label, field in block.model_fields.items() if block else ():
        inner = block_in(field.annotation)
        if inner is not None:
            way = (*path, label, 0) if get_origin(field.annotation) is tuple else (*path, label)
            named = [o for o in inner.model_fields if name in (o, "".join(word[0] for word in o.split("_")))]
            found += [".".join(map(str, (*way, option))) for option in named]
            found += _elsewhere(name, inner, way)
    return found


def _shown(value: Any) -> str:
    if value is None:
        return "nothing (null)"
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, bool):
        return str(value).lower()
    text = repr(value) if isinstance(value, str | int | float) else f"a {type(value).__name__}"
    return text if len(text) <= 60 else f"{text[:57]}…"


def _entries(count: int) -> str:
    return f"{count} {'entry' if count == 1 else 'entries'}"


def _is_plugin_problem(details: Mapping[str, Any], registry: Registry) -> bool:
    """Tell whether a component is missing or broken, and its name not merely misspelt."""
    if details["type"] != "component":
        return False
    error = details["ctx"]["error"]
    return not ("there is no" in error.message and "did you mean" in (error.hint or ""))


# pydantic adds the branch of a union to a location, and reports the problems of every branch.


def _without_branches(error: ValidationError, data: Any) -> list[tuple[Path, Mapping[str, Any]]]:
    entries = []
    for details in error.errors(include_url=False):
        # A missing value is an option, even if its name is one of pydantic's branches, such as "path".
        missing = details["loc"][-1:] if details["type"] == "missing" else ()
        path, branch = _split(details["loc"][: len(details["loc"]) - len(missing)], data)
        path += missing
        entries.append((path, branch, details))
    # A list whose only entry is wrong is not also too short.
    wrong = [path for path, *_ in entries]
    entries = [
        entry
        for entry in entries
        if entry[2]["type"] != "too_short"
        or not any(path[: len(entry[0])] == entry[0] and path != entry[0] for path in wrong)
    ]
    kept: list[tuple[Path, Mapping[str, Any]]] = []
    for union, group in groupby(entries, key=lambda entry: entry[1][0] if entry[1] else None):
        members = list(group)
        if union is None:
            kept += [(path, details) for path, _, details in members]
        else:
            kept += _likeliest(union, members)
    return kept


def _split(location: Sequence[str | int], data: Any) -> tuple[Path, tuple[Path, str] | None]:
    """Split a location into its path in the data, and its first union branch: path of the union, name of the branch."""
    path: list[str | int] = []
    branch = None
    current = data
    for name in location:
        present = (isinstance(current, Mapping) and name in current) or (
            isinstance(current, list | tuple) and isinstance(name, int) and name < len(current)
        )
        if isinstance(current, Mapping) and isinstance(name, int) and str(name) in current:
            current = current[str(name)]
            path.append(name)
        elif present:
            current = current[name]
            path.append(name)
        elif isinstance(name, str) and _names_a_branch(name):
            branch = branch or (tuple(path), name)
        else:
            current = None
            path.append(name)
    return tuple(path), branch


def _names_a_branch(name: str) -> bool:
    plain = {"int", "float", "str", "bool", "none", "date", "path", "list", "dict", "tuple", "set"}
    return name in plain or "[" in name or name[:1].isupper() or name.startswith(("constrained-", "function-"))


def _likeliest(
    union: Path, members: list[tuple[Path, tuple[Path, str], Mapping[str, Any]]]
) -> list[tuple[Path, Mapping[str, Any]]]:
    """Choose the problems of the branch that was probably meant: one whose type fits the written value."""
    branches: dict[str, list[tuple[Path, Mapping[str, Any]]]] = {}
    for path, (_, name), details in members:
        branches.setdefault(name, []).append((path, details))
    mistakes = [("_type", "_parsing", "literal"), ("_type", "_parsing")]
    # A word may be a misspelt choice; any other value is not.
    for mistaken in mistakes if isinstance(members[0][2]["input"], str) else mistakes[:1]:
        fitting = [
            found
            for found in branches.values()
            if not any(path == union and any(word in d["type"] for word in mistaken) for path, d in found)
        ]
        if fitting:
            return min(fitting, key=len)
    details = members[0][2]
    wanted = " or ".join(
        dict.fromkeys(d["msg"].removeprefix("Input should be ").partition(",")[0] for *_, d in members)
    )
    return [(union, {**details, "type": "union", "msg": f"Input should be {wanted}"})]


# Find the model at a path, to list the options of a block.


def _block_at(model: type[Config], path: Path, data: Any, registry: Registry) -> type[Config] | None:
    annotation, metadata = model, ()
    current = data
    block: type[Config] | None = model
    for name in path:
        current = _step(current, name)
        if isinstance(name, str):
            field = block.model_fields.get(name) if block else None
            if field is None:
                return None
            annotation, metadata = field.annotation, tuple(field.metadata)
            if current is None:
                current = field.get_default()
        else:
            annotation, metadata = _item_of(annotation), ()
        block = _block_of(annotation, metadata, current, registry)
    return block


def _step(data: Any, name: str | int) -> Any:
    if isinstance(data, Mapping):
        return data.get(name, data.get(str(name)))
    if isinstance(data, list | tuple) and isinstance(name, int) and name < len(data):
        return data[name]
    return None


def _item_of(annotation: Any) -> Any:
    return next((argument for argument in get_args(annotation) if argument is not ...), None)


def _block_of(annotation: Any, metadata: Sequence[Any], data: Any, registry: Registry) -> type[Config] | None:
    slots = [item for item in (*metadata, *types_in(annotation)) if isinstance(item, SlotOf)]
    if slots:
        if isinstance(data, Mapping) and "same_as" in data:
            return block_in(annotation)
        name = data.get("type") if isinstance(data, Mapping) else data
        try:
            return registry.load_config(registry.component(slots[0].kind, name))
        except (PluginError, AttributeError, TypeError):
            return None
    return block_in(annotation)


def _slot_at(model: type[Config], path: Path, data: Any, registry: Registry) -> Kind | None:
    block = _block_at(model, path[:-1], data, registry)
    field = block.model_fields.get(str(path[-1])) if block else None
    found = (*field.metadata, *types_in(field.annotation)) if field else ()
    return next((item.kind for item in found if isinstance(item, SlotOf)), None)
