"""What checking a capture found, and how it is told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Something missing or wrong.

    Args:
        severity: An "error" spoils frames or the whole capture; a "warning" is worth knowing and does no harm.
        kind: What sort of thing, for counting; such as "picture missing".
        where: File, with line number if it has one, relative to the capture.
        problem: What is wrong.
        segment: Whose frame it is, if it is one frame's.
        frame: Its number.
    """

    severity: Severity
    kind: str
    where: str
    problem: str
    segment: str | None = None
    frame: int | None = None


@dataclass
class Report:
    """All findings about a capture, and an overview.

    Args:
        root: The capture.
        overview: Name → value, in the order to be shown.
        findings: What is missing or wrong.
    """

    root: str
    overview: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> int:
        return sum(finding.severity == "error" for finding in self.findings)

    @property
    def counts(self) -> list[tuple[str, Severity, int]]:
        """Kind, severity and number of findings, the most frequent first."""
        counted = Counter((finding.kind, finding.severity) for finding in self.findings)
        return [(kind, severity, count) for (kind, severity), count in counted.most_common()]

    def as_data(self) -> dict[str, Any]:
        """Everything, as JSON takes it."""
        return {
            "capture": self.root,
            "errors": self.errors,
            "overview": self.overview,
            "findings": [asdict(finding) for finding in self.findings],
        }


def lines(report: Report, most: int) -> Iterator[str]:
    """The findings as text, at most so many of each kind."""
    shown: Counter[str] = Counter()
    for finding in report.findings:
        shown[finding.kind] += 1
        if shown[finding.kind] <= most:
            yield f"{finding.severity}: {finding.where}: {finding.problem}"
    for kind, count in shown.items():
        if count > most:
            yield f"… and {count - most} more of kind '{kind}'"
