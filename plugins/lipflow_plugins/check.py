"""`lipflow-core plugins check NAME [KEY=VALUE …]`: run the conformance kit."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING, Any

from lipflow_core.errors import PluginError
from lipflow_core.hooks import Component
from lipflow_core.registry import default_registry
from lipflow_core.tables import printable
from lipflow_plugins.choice import chosen

if TYPE_CHECKING:
    from pydantic import ValidationError

    from lipflow_core.parts import Part
    from lipflow_core.registry import Registry


def run(args: argparse.Namespace) -> int:
    """Print the outcome of every check; 5 if any failed."""
    registry = default_registry()
    every = [offer for offer in chosen(registry, args.name, args.kind) if isinstance(offer, Component)]
    if not every:
        raise PluginError(
            f"'{args.name}' is a command, and the conformance kit checks components",
            f"try the command itself: lipflow-core {args.name} --help",
        )
    components = [component for component in every if not registry.missing(component)]
    for component in every:
        if missing := registry.missing(component):
            refusal = PluginError(
                f"{component.kind} '{component.name}' can't be checked: {', '.join(missing)} is not installed",
                f"install it with: {component.install}" if component.install else None,
            )
            if not components:
                raise refusal
            print(printable(str(refusal)), file=sys.stderr)  # a plugin's other components can be
    options = _options(args.overrides)
    if options and len(components) > 1:
        names = ", ".join(registry.spelling(component) for component in components)
        raise PluginError(f"options are for one component, and '{args.name}' has {names}", "Name one of them.")
    from pydantic import ValidationError

    from lipflow_core.plans import Mismatch
    from lipflow_core.testing import check_component

    reports = []
    capture = _capture(args.capture, args.preset, registry) if args.capture else None
    for component in components:
        name = registry.spelling(component)
        try:
            report = check_component(
                component.kind, name, options, preset=args.preset, registry=registry, capture=capture
            )
            reports.append(report)
        except ValidationError as error:
            raise PluginError(
                f"{component.kind} '{component.name}' can't be checked with its options as they are: {_wrong(error)}",
                f"give its options: lipflow-core plugins check {component.kind}/{name} KEY=VALUE …; "
                f"`lipflow-core plugins info {component.kind}/{name}` lists them",
            ) from error
        except (Mismatch, ValueError) as error:
            # Neither its plan nor its options take what the kit gives: nothing could be asked.
            raise PluginError(f"{component.kind} '{component.name}' can't be checked: {error}") from error
    if args.json:
        import json
        from dataclasses import asdict

        print(json.dumps([asdict(report) for report in reports], indent=2))
    else:
        print(printable("\n\n".join(map(str, reports))))
    return 0 if all(report.passed for report in reports) else PluginError.exit_code


def _capture(words: list[str], preset: str, registry: Registry) -> Part:
    """Find the capture that `--capture NAME KEY=VALUE …` names."""
    from pydantic import TypeAdapter, ValidationError

    from lipflow_core.parts import CaptureSlot

    data, context = {"type": words[0], **_options(words[1:])}, {"registry": registry, "preset": preset}
    try:
        return TypeAdapter(CaptureSlot).validate_python(data, context=context)
    except ValidationError as error:
        raise PluginError(f"--capture {' '.join(words)}: {_wrong(error)}") from error


def _wrong(error: ValidationError) -> str:
    places = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_url=False)]
    return "; ".join(f"{place}: {message}" if place else message for place, message in places)


def _options(overrides: list[str]) -> dict[str, Any]:
    """Read the component's options from KEY=VALUE arguments."""
    from lipflow_core.specs.document import Document
    from lipflow_core.specs.options import apply_overrides, parse_override

    document = Document({})
    apply_overrides(document, [parse_override(text) for text in overrides])
    return document.data
