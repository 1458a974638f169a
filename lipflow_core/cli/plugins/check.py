"""`lipflow-core plugins check NAME`: run the conformance kit."""

from __future__ import annotations

import argparse

from lipflow_core.cli.plugins.choice import chosen
from lipflow_core.errors import PluginError
from lipflow_core.registry import default_registry


def run(args: argparse.Namespace) -> int:
    """Print every check's outcome; 5 if any failed."""
    registry = default_registry()
    components = chosen(registry, args.name, args.kind)
    for component in components:
        if missing := registry.missing(component):
            raise PluginError(
                f"{component.kind} '{component.name}' can't be checked: {', '.join(missing)} is not installed",
                f"install it with: {component.install}" if component.install else None,
            )
    from pydantic import ValidationError

    from lipflow_core.plans import Mismatch
    from lipflow_core.testing import check_component

    reports = []
    for component in components:
        name = registry.spelling(component)
        try:
            reports.append(check_component(component.kind, name, preset=args.preset, registry=registry))
        except ValidationError as error:
            wrong = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False))
            raise PluginError(
                f"{component.kind} '{component.name}' can't be checked with its options as they are: {wrong}",
                f"give options in a test: check_component({component.kind!r}, {name!r}, {{…}}) of lipflow_core.testing",
            ) from error
        except (Mismatch, ValueError) as error:
            # Neither its plan nor its options take what the kit gives: nothing could be asked.
            raise PluginError(f"{component.kind} '{component.name}' can't be checked: {error}") from error
    if args.json:
        import json
        from dataclasses import asdict

        print(json.dumps([asdict(report) for report in reports], indent=2))
    else:
        print("\n\n".join(map(str, reports)))
    return 0 if all(report.passed for report in reports) else PluginError.exit_code
