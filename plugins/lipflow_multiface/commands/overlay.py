"""`lipflow-core capture overlay`: a contact sheet of pictures with projected mesh and keypoints."""

from __future__ import annotations

import argparse


def run(args: argparse.Namespace) -> int:
    """Draw and write the sheet."""
    import io
    from pathlib import Path

    from lipflow_core.selection import positions
    from lipflow_core.storage import write_atomically
    from lipflow_core.tables import counted, printable
    from lipflow_multiface.layout import CaptureFolder
    from lipflow_multiface.overlay import overlay
    from lipflow_multiface.small_files import read_frame_list

    folder = CaptureFolder(Path(args.folder))
    folder.check()
    frames = None
    if args.frames is not None:
        listed = read_frame_list(folder)
        segments, numbers = [segment for segment, _ in listed], [number for _, number in listed]
        frames = [listed[index] for index in positions(segments, numbers, args.frames)]
    sheet = overlay(
        folder,
        frames,
        args.cameras,
        height=args.height,
        wireframe=not args.points_only,
    )
    content = io.BytesIO()
    sheet.picture.save(content, "PNG")
    write_atomically(args.out, content.getvalue())
    frames, cameras = counted(len(sheet.frames), "frame"), counted(len(sheet.cameras), "camera")
    print(printable(f"{args.out}: {frames} by {cameras} ({', '.join(sheet.cameras)})"))
    return 0
