"""Finds the code blocks and the inline commands of a Markdown page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

PAGES = tuple(
    str(path.relative_to(ROOT))
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "AGENTS.md", *sorted(ROOT.glob("docs/**/*.md")))
    if "_build" not in path.parts and "generated" not in path.parts
)
"""The pages, as paths below the repository's root."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\S*)\n(?P<text>.*?)^(?P=indent)```$", re.MULTILINE | re.DOTALL)
_NAMED_BEFORE = re.compile(r"`([\w./-]+\.(?:py|yaml|toml|json))`[^`\n]*:\n*\Z")
_NAMED_WITHIN = re.compile(r"\A# ([\w./-]+\.(?:py|yaml|toml))\n")
_INLINE = re.compile(r"(?<!`)`(lipflow-core [^`]+)`(?!`)")


@dataclass(frozen=True)
class Block:
    """A fenced block.

    Args:
        page: Path of the page below the repository's root.
        line: Line of the fence, counted from 1.
        language: Word after the fence; empty for text and output.
        text: Content, without the indentation of the fence.
        file: File that the page says the block is: named in the line above, or in the block's first line.
    """

    page: str
    line: int
    language: str
    text: str
    file: str | None

    @property
    def place(self) -> str:
        return f"{self.page}:{self.line}"


def blocks(page: str) -> Iterator[Block]:
    """Yield the blocks of a page in order."""
    content = (ROOT / page).read_text(encoding="utf-8")
    for found in _FENCE.finditer(content):
        text = re.sub(rf"^{found['indent']}", "", found["text"], flags=re.MULTILINE)
        named = _NAMED_WITHIN.match(text) or _NAMED_BEFORE.search(content, 0, found.start())
        line = content.count("\n", 0, found.start()) + 1
        yield Block(page, line, found["language"], text, named[1] if named else None)


def inline_commands(page: str) -> Iterator[str]:
    """Yield each command within a sentence; "COMMAND", "…" and the like mark a pattern, not a command."""
    content = (ROOT / page).read_text(encoding="utf-8")
    for found in _INLINE.finditer(_FENCE.sub("", content)):
        command = " ".join(found[1].split())
        if not re.search(r"…|\b[A-Z]{4,}\b", command):
            yield command
