"""Bounds on the sizes of pictures, checked before memory is allocated. Imports neither torch nor numpy."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

LARGEST_PICTURE = 1 << 26
"""Pixels of the largest picture that is read or drawn: 67 million. A renderer takes about 50 bytes for each."""

PictureSide = Annotated[int, Field(ge=8, le=16384)]
PictureSize = tuple[PictureSide, PictureSide]
"""Height and width in pixels."""


def drawing_problem(option: str, size: tuple[int, int], supersampling: int) -> str | None:
    """Say why a picture is too large to be drawn.

    Args:
        option: Name of the option that sets the size, for the message.
        size: Height and width in pixels, before supersampling.
        supersampling: Factor by which it is drawn larger in each direction.

    Returns:
        A sentence, or None if the picture can be drawn.
    """
    height, width = size
    pixels = height * width * supersampling**2
    if pixels <= LARGEST_PICTURE:
        return None
    return (
        f"{option} {height}×{width} at supersampling {supersampling} means {pixels:,} pixels a picture; "
        f"at most {LARGEST_PICTURE:,} are drawn at once, since each takes about 50 bytes"
    )
