"""Defines the errors that lipflow-core raises, each with the command line's exit code.

Every message says what was wrong, where, and what to do. Catch `LipflowError` for all of them; the subclasses tell
where to look.
"""

from __future__ import annotations


class LipflowError(Exception):
    """Base of every error that lipflow-core raises on purpose.

    Args:
        message: Sentence that says what was wrong and where.
        hint: Sentence that says what to do; printed on a line of its own.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None):
        super().__init__(message if hint is None else f"{message}\n  {hint}")
        self.message = message
        self.hint = hint


class UsageError(LipflowError):
    """A request on the command line can't be carried out (exit code 2)."""

    exit_code = 2


class SpecError(LipflowError):
    """A spec or an override is invalid (exit code 3)."""

    exit_code = 3


class CompatibilityError(SpecError):
    """Parts of a spec are each valid but do not fit together (exit code 4)."""

    exit_code = 4


class PluginError(LipflowError):
    """A plugin is missing or broken, has another API version, or clashes with another plugin (exit code 5)."""

    exit_code = 5


class CaptureError(LipflowError):
    """A capture is missing, empty or damaged (exit code 6)."""

    exit_code = 6


class ModelError(LipflowError):
    """A model directory or checkpoint is missing, damaged or made from another spec (exit code 7)."""

    exit_code = 7


class ResultError(LipflowError):
    """A file of results, such as evaluation.json, is damaged or not of this format (exit code 7)."""

    exit_code = 7


class StorageError(LipflowError):
    """A file or folder could not be written, for example because the disk is full (exit code 8)."""

    exit_code = 8


class NumericalError(LipflowError):
    """A computation gave NaN or infinity and can't continue (exit code 9)."""

    exit_code = 9


class Interrupted(LipflowError):
    """The signal INT or TERM was received; the work so far was saved (exit code 130)."""

    exit_code = 130
