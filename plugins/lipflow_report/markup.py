"""HTML from nested calls; text is escaped unless it is markup already."""

from __future__ import annotations

from html import escape

_VOID = frozenset({"br", "hr", "img", "input", "meta"})


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element.

    Args:
        name: Its name.
        *children: Markup, text (escaped), or lists of them; None is left out.
        **attributes: By name, a trailing underscore dropped and the others turned into dashes; None and False are left
            out, True stands alone.

    Example:
        >>> tag("p", "1 < 2", class_="note")
        '<p class="note">1 &lt; 2</p>'
    """
    shown = []
    for key, value in attributes.items():
        key = key.rstrip("_").replace("_", "-")
        if value is True:
            shown.append(f" {key}")
        elif value is not None and value is not False:
            shown.append(f' {key}="{escape(str(value))}"')
    opening = f"<{name}{''.join(shown)}>"
    return Markup(opening if name in _VOID else f"{opening}{join(children)}</{name}>")


def join(children: object) -> Markup:
    """Markup and text, nested as they like, one after another."""
    if children is None:
        return Markup("")
    if isinstance(children, Markup):
        return children
    if isinstance(children, list | tuple):
        return Markup("".join(join(child) for child in children))
    return Markup(escape(str(children)))
