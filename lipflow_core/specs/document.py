"""Parses YAML to plain Python data, and keeps the line and column of each value.

Scalars are read by the YAML 1.2 core schema: `1e-3` is a number; `yes`, `no`, `on` and `off` are strings. Features
that specs do not need (tags, merge keys, several documents) and dangerous ones (alias bombs, deep nesting) are errors.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

from lipflow_core.errors import SpecError

Path = tuple[str | int, ...]
"""Path of a value in a spec, such as ("training", "stages", 0, "steps")."""

MAX_CHARACTERS = 100_000
MAX_NODES = 20_000
"""Largest number of values in a document, with its aliases expanded."""
MAX_DEPTH = 64

_SCALARS = {
    "tag:yaml.org,2002:null": re.compile(r"^(?:~|null|Null|NULL|)$"),
    "tag:yaml.org,2002:bool": re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"),
    "tag:yaml.org,2002:int": re.compile(r"^(?:[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+)$"),
    "tag:yaml.org,2002:float": re.compile(
        r"^(?:[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$"
    ),
}
_TAGS = {"null": "null", "bool": "true or false", "int": "an integer", "float": "a number"}
_CONTAINERS = {"tag:yaml.org,2002:map", "tag:yaml.org,2002:seq", "tag:yaml.org,2002:str"}


class _Loader(yaml.SafeLoader):
    """PyYAML's parser with the scalars of YAML 1.2."""

    yaml_implicit_resolvers = {None: [(tag, pattern) for tag, pattern in _SCALARS.items()]}  # noqa: RUF012
    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node:
        if self.depth >= MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.composer.ComposerError(None, None, f"nested deeper than {MAX_DEPTH} levels", mark)
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


@dataclass(frozen=True)
class Origin:
    """The place where a value was written.

    Args:
        source: Name of the file, or text of the override.
        line: Line in the file, counted from 1; 0 for overrides.
        column: Column in the line, counted from 1; 0 for overrides.
    """

    source: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.source}:{self.line}:{self.column}" if self.line else self.source


@dataclass
class Document:
    """Plain data (mappings, lists, scalars) with the origin of each key and value.

    Attributes:
        data: Parsed content.
        keys: Path of a value → origin of its key.
        values: Path of a value → origin of the value itself.
    """

    data: Any
    keys: dict[Path, Origin] = field(default_factory=dict)
    values: dict[Path, Origin] = field(default_factory=dict)

    def origin(self, path: Path, *, of_key: bool = False) -> Origin | None:
        """Return the origin of `path`, or of the nearest block around it that has one."""
        first, second = (self.keys, self.values) if of_key else (self.values, self.keys)
        while True:
            found = first.get(path) or second.get(path)
            if found is not None or not path:
                return found
            # A value missing in a block is best reported at the block's key.
            path, first, second = path[:-1], self.keys, self.values


def read_document(text: str | bytes, source: str) -> Document:
    """Parse one YAML document.

    Args:
        text: Content of the file.
        source: Name of the file, for messages.

    Raises:
        lipflow_core.errors.SpecError: If it is not one plain YAML document, with file, line and column.
    """
    if isinstance(text, bytes):
        try:
            text = text.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            raise SpecError(f"{source}: is not UTF-8 text (byte {error.start})") from error
    if len(text) > MAX_CHARACTERS:
        raise SpecError(f"{source}: has {len(text)} characters; a spec may have at most {MAX_CHARACTERS}")
    loader = None
    try:
        loader = _Loader(text)
        node = loader.get_single_node()
    except yaml.MarkedYAMLError as error:
        raise SpecError(_syntax_message(error, source)) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        column = error.position - text.rfind("\n", 0, error.position)
        raise SpecError(f"{source}:{line}:{column}: the character U+{error.character:04X} is not allowed") from error
    except ValueError as error:  # PyYAML does not catch the error of int() on a malformed escape
        raise SpecError(f"{source}: is not valid YAML: {error}") from error
    finally:
        if loader is not None:
            loader.dispose()
    if node is None:
        raise SpecError(f"{source}:1:1: the document is empty", "A spec is a YAML mapping; see docs/specs.md.")
    document = Document(None)
    document.data = _Builder(source, document).build(node, (), ())
    return document


def _syntax_message(error: yaml.MarkedYAMLError, source: str) -> str:
    mark = error.problem_mark or error.context_mark
    where = f"{source}:{mark.line + 1}:{mark.column + 1}" if mark else source
    if error.context == "expected a single document in the stream":
        return f"{where}: a second document begins here; a spec is a single YAML document"
    if error.problem and r"'\t'" in error.problem:
        return f"{where}: is not valid YAML: a tab stands here; indent with spaces, not tabs"
    parts = (error.context, error.problem)
    return f"{where}: is not valid YAML: {', '.join(part for part in parts if part)}"


class _Builder:
    """Turns composed nodes into data, and fills in a document's origins."""

    def __init__(self, source: str, document: Document):
        self.source = source
        self.document = document
        self.count = 0

    def build(self, node: yaml.Node, path: Path, around: tuple[yaml.Node, ...]) -> Any:
        self.count += 1
        if self.count > MAX_NODES:
            raise self._error(node, f"aliases make this document larger than {MAX_NODES} values")
        if any(node is outer for outer in around):
            raise self._error(node, "an alias stands inside the value that it names")
        if len(around) >= MAX_DEPTH:  # through aliases
            raise self._error(node, f"nested deeper than {MAX_DEPTH} levels")
        self.document.values[path] = self._origin(node)
        if node.tag not in _CONTAINERS and node.tag not in _SCALARS:
            tag = node.tag.replace("tag:yaml.org,2002:", "!!")
            raise self._error(node, f"the YAML tag '{tag}' is not known; specs hold plain values only")
        around = (*around, node)
        if isinstance(node, yaml.MappingNode):
            return {key: self.build(value, (*path, key), around) for key, value in self._items(node, path)}
        if isinstance(node, yaml.SequenceNode):
            return [self.build(item, (*path, index), around) for index, item in enumerate(node.value)]
        return self._scalar(node)

    def _items(self, node: yaml.MappingNode, path: Path) -> Iterator[tuple[str, yaml.Node]]:
        seen: dict[str, yaml.Node] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode) or key_node.tag != "tag:yaml.org,2002:str":
                raise self._error(key_node, f"the key {_shown(key_node)} is not a string; write it in quotes")
            key = key_node.value
            if key == "<<":
                raise self._error(key_node, "merge keys (<<) are not part of YAML 1.2; write the options out")
            if key in seen:
                first = self._origin(seen[key])
                raise self._error(key_node, f"'{key}' stands here a second time; the first is in line {first.line}")
            seen[key] = key_node
            self.document.keys[(*path, key)] = self._origin(key_node)
            yield key, value_node

    def _scalar(self, node: yaml.ScalarNode) -> Any:
        kind, text = node.tag.removeprefix("tag:yaml.org,2002:"), node.value
        if kind == "str":
            return text
        if not _SCALARS[node.tag].match(text):
            raise self._error(node, f"'{text}' is tagged !!{kind} but is not {_TAGS[kind]}")
        if kind == "null":
            return None
        if kind == "bool":
            return text.lower() == "true"
        if kind == "float":
            return float(text.replace(".", "") if text[-1] in "fFnN" else text)
        if len(text) > 1000:
            raise self._error(node, "this number has more than 1000 digits")
        return int(text, 0) if text[:2] in ("0o", "0x") else int(text)

    def _origin(self, node: yaml.Node) -> Origin:
        return Origin(self.source, node.start_mark.line + 1, node.start_mark.column + 1)

    def _error(self, node: yaml.Node, problem: str) -> SpecError:
        return SpecError(f"{self._origin(node)}: {problem}")


def _shown(node: yaml.Node) -> str:
    return f"'{node.value}'" if isinstance(node, yaml.ScalarNode) else "(a list or mapping)"
