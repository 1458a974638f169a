"""Suggests corrections of misspelt names, and compares names of distributions."""

from __future__ import annotations

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    from collections.abc import Iterable


def closest(word: str, known: Iterable[str]) -> str | None:
    """Find the known word that is most similar to another; None if no word is similar enough."""
    import difflib

    return next(iter(difflib.get_close_matches(word, list(known), n=1)), None)


def did_you_mean(word: str, known: Iterable[str], before: str = "") -> str:
    """Write `before` and "did you mean 'steps'?" for a misspelt word; an empty text if no known word is similar."""
    meant = closest(word, known)
    return "" if meant is None else f"{before}did you mean '{meant}'?"


def choices(word: str, known: Iterable[str]) -> str:
    """Write a hint for a misspelt word: the most similar known word, and a list of all known words."""
    known = list(known)
    meant = did_you_mean(word, known)
    there_is = f"There {'is' if len(known) == 1 else 'are'}: {', '.join(sorted(known)) or 'none'}"
    return f"{meant} {there_is}" if meant else there_is


def canonical(distribution: str) -> str:
    """Normalise the name of a distribution (PEP 503): "Acme_Prior" and "acme.prior" become "acme-prior"."""
    import re

    return re.sub(r"[-_.]+", "-", distribution).lower()
