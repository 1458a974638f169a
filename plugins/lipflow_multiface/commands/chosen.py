"""The capture that a command is about, from its name, a preset and overrides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from lipflow_core.config import Config
from lipflow_core.interfaces import Capture
from lipflow_core.parts import CaptureSlot
from lipflow_core.plans import CaptureInputs, Mismatch
from lipflow_core.registry import default_registry
from lipflow_core.specs.document import Document
from lipflow_core.specs.options import apply_overrides, parse_override
from lipflow_core.specs.problems import spec_error


class _Wanted(Config):
    """A spec with nothing but a capture."""

    capture: CaptureSlot
    """Where frames come from."""


def build_capture(name: str, options: Mapping[str, Any], preset: str, overrides: Sequence[str]) -> Capture:
    """Build a capture.

    Args:
        name: Of the component.
        options: Its options, under the overrides.
        preset: Preset whose sizes apply.
        overrides: "KEY=VALUE", keys relative to the capture.

    Raises:
        lipflow_core.errors.LipflowError: If there is no such capture, or its options can't be.
    """
    from lipflow_core.errors import CompatibilityError

    registry = default_registry()
    document = Document({"capture": {"type": name, **options}})
    changes = [parse_override(text) for text in overrides]
    apply_overrides(document, [(("capture", *path), value) for path, value in changes])
    try:
        wanted = _Wanted.model_validate(document.data, context={"registry": registry, "preset": preset})
    except ValidationError as error:
        raise spec_error(error, document, _Wanted, registry, "command line") from None
    try:
        return wanted.capture.build(CaptureInputs())
    except Mismatch as error:
        raise CompatibilityError(str(error)) from error
