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
    from collections.abc import Mapping

    from pydantic import ValidationError

    from lipflow_core.parts import Part
    from lipflow_core.registry import Registry
    from lipflow_core.testing import Report


def run(args: argparse.Namespace) -> int:
    """Print the outcome of every check; 5 if any failed."""
    from lipflow_core.specs.component import load_part

    registry = default_registry()
    components = _components(args.name, args.kind, registry)
    options = None
    if args.overrides:
        if len(components) > 1:
            names = ", ".join(registry.spelling(component) for component in components)
            raise PluginError(f"options are for one component, and '{args.name}' has {names}", "Name one of them.")
        (only,) = components
        options = load_part(only.kind, registry.spelling(only), args.overrides, preset=args.preset).as_data()
        del options["type"]
    capture = load_part("capture", args.capture[0], args.capture[1:], preset=args.preset) if args.capture else None
    reports, refusals = [], []
    for component in components:
        try:
            reports.append(_report(component, options, args.preset, capture, registry))
        except PluginError as error:
            refusals.append(error)
    if args.json and reports:
        import json
        from dataclasses import asdict

        print(json.dumps([asdict(report) for report in reports], indent=2))
    elif reports:
        print(printable("\n\n".join(map(str, reports))))
    for refusal in refusals[:-1]:
        print(printable(str(refusal)), file=sys.stderr)
    if refusals:
        raise refusals[-1]
    return 0 if all(report.passed for report in reports) else PluginError.exit_code


def _components(name: str, kind: str | None, registry: Registry) -> list[Component]:
    """Find the components that can be checked; those whose packages are missing are told on standard error."""
    offers = chosen(registry, name, kind)
    every = [offer for offer in offers if isinstance(offer, Component)]
    commands = [offer.name for offer in offers]
    command = name.rpartition("/")[2]
    if command in commands and not every:
        raise PluginError(
            f"'{command}' is a command, and the conformance kit checks components",
            f"try the command itself: lipflow-core {command} --help",
        )
    if not every:
        raise PluginError(
            f"plugin '{name}' offers no component; its commands are: {', '.join(commands) or 'none'}",
            "The conformance kit checks components; `lipflow-core plugins list` shows all.",
        )
    there = [component for component in every if not registry.missing(component)]
    for component in every:
        if missing := registry.missing(component):
            refusal = PluginError(
                f"{component.kind} '{component.name}' can't be checked: {', '.join(missing)} is not installed",
                f"install it with: {component.install}" if component.install else None,
            )
            if not there:
                raise refusal
            print(printable(str(refusal)), file=sys.stderr)  # a plugin's other components can be
    return there


def _report(
    component: Component, options: Mapping[str, Any] | None, preset: str, capture: Part | None, registry: Registry
) -> Report:
    """Run the checks of one component. Raises a PluginError if it can't be examined."""
    from pydantic import ValidationError

    from lipflow_core.plans import Mismatch
    from lipflow_core.testing import check_component

    name = registry.spelling(component)
    try:
        return check_component(component.kind, name, options, preset=preset, registry=registry, capture=capture)
    except ValidationError as error:
        raise PluginError(
            f"{component.kind} '{component.name}' can't be checked with its options as they are: {_wrong(error)}",
            f"give its options: lipflow-core plugins check {component.kind}/{name} KEY=VALUE …; "
            f"`lipflow-core plugins info {component.kind}/{name}` lists them",
        ) from error
    except (Mismatch, ValueError) as error:
        # Neither its plan nor its options take what the kit gives: nothing could be asked.
        raise PluginError(f"{component.kind} '{component.name}' can't be checked: {error}") from error


def _wrong(error: ValidationError) -> str:
    places = [(".".join(map(str, each["loc"])), each["msg"]) for each in error.errors(include_url=False)]
    return "; ".join(f"{place}: {message}" if place else message for place, message in places)
