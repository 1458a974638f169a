"""One component on its own, for commands that need a part of a model and no whole spec."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import ValidationError, create_model

from lipflow_core.config import Config
from lipflow_core.hooks import Kind
from lipflow_core.parts import Part, SlotOf
from lipflow_core.registry import Registry, default_registry
from lipflow_core.specs.document import Document
from lipflow_core.specs.options import apply_overrides, parse_override
from lipflow_core.specs.problems import spec_error


def load_part(
    kind: Kind,
    component: str | Mapping[str, Any],
    overrides: Iterable[str] = (),
    *,
    preset: str = "paper",
    registry: Registry | None = None,
) -> Part:
    """Find a component and validate its options.

    Args:
        kind: Its kind.
        component: Its name, or a mapping with `type` and options.
        overrides: "KEY=VALUE" over these options, with keys relative to the component.
        preset: Preset whose sizes apply.
        registry: Where it is looked up; the default registry if None.

    Returns:
        The component with its options, to be planned and built.

    Raises:
        lipflow_core.errors.SpecError: If an option is wrong.
        lipflow_core.errors.PluginError: If there is no such component.
    """
    registry = registry or default_registry()
    document = Document({kind: {"type": component} if isinstance(component, str) else dict(component)})
    changes = [parse_override(text) for text in overrides]
    apply_overrides(document, [((kind, *path), value) for path, value in changes])
    block = create_model("Block", __base__=Config, **{kind: (Annotated[Part, SlotOf(kind)], ...)})
    try:
        wanted = block.model_validate(document.data, context={"registry": registry, "preset": preset})
    except ValidationError as error:
        raise spec_error(error, document, block, registry, "command line") from None
    return getattr(wanted, kind)
