"""`lipflow-core capture simulate`: write a simulated capture in Multiface's layout."""

from __future__ import annotations

import argparse
import os

TYPE_CHECKING = False  # as in lipflow_core/__init__.py, so as not to import typing
if TYPE_CHECKING:
    from typing import Any

    from lipflow_core.registry import Registry


def run(args: argparse.Namespace) -> int:
    """Simulate, then write; 0 once all of it is on disk."""
    from lipflow_core.errors import CompatibilityError
    from lipflow_core.interfaces import Capture
    from lipflow_core.plans import CaptureInputs, Mismatch, RendererInputs
    from lipflow_core.registry import default_registry
    from lipflow_core.specs.component import load_part
    from lipflow_core.storage import check_folder
    from lipflow_core.tables import counted
    from lipflow_multiface import CAPTURE
    from lipflow_multiface.writing import write_capture

    check_folder(args.out)  # before hours of work
    registry = default_registry()
    wanted = wanted_capture(registry, args.capture, args.subject, args.workers)
    try:
        capture: Capture = load_part("capture", wanted, args.overrides, preset=args.preset).build(CaptureInputs())
    except Mismatch as error:
        raise CompatibilityError(str(error)) from error
    renderer = None
    if not args.average_only:
        planned, surface = capture.planned.outputs, capture.planned.roles.surface
        inputs = RendererInputs(
            device="cpu",
            vertices=planned[f"{surface}.vertices"][0],
            triangles=planned["topology.triangles"][0],
            texture=planned[f"{surface}.texture"],
        )
        renderer = load_part("renderer", registry.default("renderer"), preset=args.preset).build(inputs)
    workers = args.workers or os.cpu_count() or 1
    written = write_capture(
        capture,
        args.out,
        renderer,
        obj_for_each=args.obj_for_each,
        workers=workers,
        style="none" if args.quiet else "auto",
    )
    there = "" if written.new == written.frames else f" ({written.frames - written.new} of them were there)"
    frames, segments = counted(written.frames, "frame"), counted(written.segments, "segment")
    print(f"{args.out}: {frames} in {segments}{there}")
    print(f"in a spec:  capture: {{type: {CAPTURE.name}, path: {args.out}}}")
    return 0


def wanted_capture(registry: Registry, name: str | None, subject: str | None, workers: int) -> dict[str, Any]:
    """Write the capture that is to be simulated as a spec does.

    Args:
        registry: Registry of the captures; it names the default one.
        name: Name of the capture; the default if None.
        subject: Value of its option `subject`; not set if None.
        workers: Value of its option `workers`, if it has one; not set if 0.
    """
    from lipflow_core.errors import PluginError

    wanted = name or registry.default("capture")
    options = {"type": wanted} if isinstance(wanted, str) else dict(wanted)
    if subject is not None:
        options["subject"] = subject
    if workers:
        try:
            config = registry.load_config(registry.component("capture", options["type"]))
            options |= {"workers": workers} if "workers" in config.model_fields else {}
        except PluginError:
            pass  # building it will say what is wrong
    return options
