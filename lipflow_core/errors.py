"""Errors that lipflow-core raises, each with the exit code that the command line ends with.

Every message says what was wrong, where, and what to do. A caller catches `LipflowError`; the subclasses say whose
move it is.
"""

from __future__ import annotations


class LipflowError(Exception):
    """Base of every error that lipflow-core raises on purpose.

    Args:
        message: What was wrong and where.
        hint: What to do about it; printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message if hint is None else f"{message}\n  {hint}")
        self.message = message
        self.hint = hint


class UsageError(LipflowError):
    """What was asked for on the command line can't be done (exit code 2)."""

    exit_code = 2


class SpecError(LipflowError):
    """A spec or an override does not say something that can be built (exit code 3)."""

    exit_code = 3


class CompatibilityError(SpecError):
    """Parts of a spec are each valid but do not fit together (exit code 4)."""

    exit_code = 4


class PluginError(LipflowError):
    """A plugin is missing, broken, of another API, or clashes with another (exit code 5)."""

    exit_code = 5


class CaptureError(LipflowError):
    """A capture is missing, empty or damaged (exit code 6)."""

    exit_code = 6


class ModelError(LipflowError):
    """A model directory or checkpoint is missing, damaged or not of this spec (exit code 7)."""

    exit_code = 7


class ResultError(LipflowError):
    """A file of results, such as evaluation.json, is damaged or not of this format (exit code 7)."""

    exit_code = 7


class StorageError(LipflowError):
    """Something could not be written: unwritable folder, full disk (exit code 8)."""

    exit_code = 8


class NumericalError(LipflowError):
    """A computation gave NaN or infinity where it must not (exit code 9)."""

    exit_code = 9


class Interrupted(LipflowError):
    """INT or TERM was received; the work so far was saved (exit code 130)."""

    exit_code = 130
