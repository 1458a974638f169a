"""The report of an evaluation: one HTML file that needs nothing from outside."""

from lipflow_core.report.page import write_report

__all__ = ["write_report"]
