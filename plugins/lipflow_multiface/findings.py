"""The findings of validating a capture, and their text."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Severity = Literal["error", "warning"]


@dataclass(frozen=True)
class Finding:
    """Describes something that is missing or wrong in a capture.

    Args:
        severity: An "error" spoils frames or the whole capture. A "warning" does no harm.
        kind: Kind of finding, for counting, such as "picture missing".
        where: File relative to the capture, with a line number for text files.
        problem: Description of the problem.
        segment: Segment of the frame, if it concerns one.
        frame: Number of the frame, if it concerns one.
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
        root: The capture's folder.
        overview: Name → value, in the order of display.
        findings: All that is missing or wrong.
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
        """Give everything as data for JSON."""
        return {
            "capture": self.root,
            "errors": self.errors,
            "overview": self.overview,
            "findings": [asdict(finding) for finding in self.findings],
        }


def lines(report: Report, most: int) -> Iterator[str]:
    """Give the findings as text, at most `most` of each kind."""
    shown: Counter[str] = Counter()
    for finding in report.findings:
        shown[finding.kind] += 1
        if shown[finding.kind] <= most:
            yield f"{finding.severity}: {finding.where}: {finding.problem}"
    for kind, count in shown.items():
        if count > most:
            yield f"… and {count - most} more of kind '{kind}'"
