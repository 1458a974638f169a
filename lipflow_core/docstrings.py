"""Reading Google-style docstrings: where the documentation of options comes from."""

from __future__ import annotations

import inspect
import re

_ARGUMENT = re.compile(r"    (\w+)(?: \([^)]*\))?:\s*(.*)")


def summary(documented: object) -> str:
    """The first paragraph of an object's own docstring, in one line; empty if it has none."""
    text = inspect.cleandoc(getattr(documented, "__doc__", None) or "")
    return " ".join(text.partition("\n\n")[0].split())


def arguments(cls: type) -> dict[str, str]:
    """What a class's docstring says of each argument, those of its bases included.

    Example:
        >>> from lipflow_core.parts import ObjectiveConfig
        >>> arguments(ObjectiveConfig)
        {'weight': 'What the loss is multiplied by.'}
    """
    found: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        found.update(_arguments(base.__dict__.get("__doc__") or ""))
    return found


def _arguments(docstring: str) -> dict[str, str]:
    lines = inspect.cleandoc(docstring).splitlines()
    if "Args:" not in lines:
        return {}
    found: dict[str, str] = {}
    name = None
    for line in lines[lines.index("Args:") + 1 :]:
        if line and not line.startswith(" "):
            break
        if match := _ARGUMENT.fullmatch(line):
            name = match[1]
            found[name] = match[2].strip()
        elif name is not None and line.strip():
            found[name] = f"{found[name]} {line.strip()}".strip()
    return found
