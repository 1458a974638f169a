"""`lipflow-core capture simulate`: write a simulated capture in Multiface's layout."""

from __future__ import annotations

import argparse
import os


def run(args: argparse.Namespace) -> int:
    """Simulate, then write; 0 once all of it is on disk."""
    from typing import Annotated

    from pydantic import TypeAdapter

    from lipflow_core.parts import Part, SlotOf
    from lipflow_core.plans import RendererInputs
    from lipflow_core.storage import check_folder
    from lipflow_core.tables import counted
    from lipflow_multiface.commands.chosen import build_capture
    from lipflow_multiface.writing import write_capture

    check_folder(args.out)  # before hours of work
    options = {} if args.subject is None else {"subject": args.subject}
    if args.workers and _has_workers(args.capture):
        options["workers"] = args.workers
    capture = build_capture(args.capture, options, args.preset, args.overrides)
    renderer = None
    if not args.average_only:
        planned = capture.planned.outputs
        inputs = RendererInputs(
            device="cpu",
            vertices=planned["face.vertices"][0],
            triangles=planned["topology.triangles"][0],
            texture=planned["face.texture"],
        )
        renderer = TypeAdapter(Annotated[Part, SlotOf("renderer")]).validate_python("cpu").build(inputs)
    workers = args.workers or os.cpu_count() or 1
    written = write_capture(capture, args.out, renderer, workers=workers, style="none" if args.quiet else "auto")
    there = "" if written.new == written.frames else f" ({written.frames - written.new} of them were there)"
    frames, segments = counted(written.frames, "frame"), counted(written.segments, "segment")
    print(f"{args.out}: {frames} in {segments}{there}")
    print(f"in a spec:  capture: {{type: multiface, path: {args.out}}}")
    return 0


def _has_workers(name: str) -> bool:
    """Whether a capture has an option of that name too: processes that simulate."""
    from lipflow_core.errors import PluginError
    from lipflow_core.registry import default_registry

    registry = default_registry()
    try:
        return "workers" in registry.load_config(registry.component("capture", name)).model_fields
    except PluginError:  # building it will say what is wrong
        return False
