"""Validates one component on its own, for commands that need a part of a model and no whole spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import ValidationError, create_model

from lipflow_core.config import Config
from lipflow_core.hooks import Kind
from lipflow_core.parts import Part, SlotOf
from lipflow_core.registry import default_registry
from lipflow_core.specs.document import Document
from lipflow_core.specs.options import apply_overrides, parse_override
from lipflow_core.specs.problems import spec_error


def load_part(
    kind: Kind,
    component: str | Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    preset: str = "paper",
) -> Part:
    """Find a component and validate its options.

    Args:
        kind: Kind of the component.
        component: Name of the component, or a mapping with `type` and options.
        overrides: Changes to its options, such as "steps=2"; keys are relative to the component.
        preset: Preset whose sizes apply.

    Returns:
        The component with its options, to be planned and built.

    Raises:
        lipflow_core.errors.SpecError: If an option is wrong.
        lipflow_core.errors.PluginError: If there is no such component.
    """
    registry = default_registry()
    document = Document({kind: {"type": component} if isinstance(component, str) else dict(component)})
    changes = [parse_override(text) for text in overrides]
    apply_overrides(document, [((kind, *path), value) for path, value in changes])
    block = create_model("Block", __base__=Config, **{kind: (Annotated[Part, SlotOf(kind)], ...)})
    try:
        wanted = block.model_validate(document.data, context={"registry": registry, "preset": preset})
    except ValidationError as error:
        raise spec_error(error, document, block, registry, "command line") from None
    return getattr(wanted, kind)
