"""The layout of a capture on disk: Multiface's folders and files, and this project's own folder beside them.

Imports no torch.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lipflow_core.errors import CaptureError

HELD_OUT = ("EXP_ROM", "EXP_free_face")
"""Prefixes of held-out segments, as in Multiface's own loader."""

TEXTURES = "unwrapped_uv_1024"
"""Folder of unwrapped textures. Its name says 1024 whatever their size."""

AVERAGE = "average"
"""Name in place of a camera's: the texture averaged over all cameras."""

EXTRAS = "lipflow"
"""Folder of what Multiface's layout has no place for: headset pictures, landmarks, ground truth."""

LONGEST_NAME = 200
"""Bytes of the longest name of a segment or camera. Systems allow 255 in a file's name, endings included."""


@dataclass(frozen=True)
class CaptureFolder:
    """The paths of a capture's files.

    Args:
        root: The capture's folder, such as "m--20180227--0000--6795937--GHS".
    """

    root: Path

    @property
    def frame_list(self) -> Path:
        return self.root / "frame_list.txt"

    @property
    def krt(self) -> Path:
        return self.root / "KRT"

    @property
    def texture_mean(self) -> Path:
        return self.root / "tex_mean.png"

    @property
    def texture_variance(self) -> Path:
        return self.root / "tex_var.txt"

    @property
    def vertices_mean(self) -> Path:
        return self.root / "vert_mean.bin"

    @property
    def vertices_variance(self) -> Path:
        return self.root / "vert_var.txt"

    @property
    def pictures(self) -> Path:
        return self.root / "images"

    @property
    def textures(self) -> Path:
        return self.root / TEXTURES

    @property
    def meshes(self) -> Path:
        return self.root / "tracked_mesh"

    def picture(self, segment: str, camera: str, number: int) -> Path:
        return self.pictures / segment / camera / f"{number:06d}.png"

    def texture(self, segment: str, camera: str, number: int) -> Path:
        return self.textures / segment / camera / f"{number:06d}.png"

    def vertices(self, segment: str, number: int) -> Path:
        return self.meshes / segment / f"{number:06d}.bin"

    def mesh(self, segment: str, number: int) -> Path:
        return self.meshes / segment / f"{number:06d}.obj"

    def transform(self, segment: str, number: int) -> Path:
        return self.meshes / segment / f"{number:06d}_transform.txt"

    @property
    def extras(self) -> Path:
        return self.root / EXTRAS

    @property
    def about(self) -> Path:
        """What wrote the capture, from what; only in captures that this project wrote."""
        return self.extras / "capture.json"

    @property
    def landmarks(self) -> Path:
        """The vertex of each keypoint."""
        return self.extras / "landmarks.json"

    @property
    def regions(self) -> Path:
        """The file with the weight of each vertex in the regions of the mesh, such as eyes and mouth."""
        return self.extras / "regions.json"

    def arrays(self, segment: str) -> Path:
        """Return the path of the arrays over a segment's frames: headset cameras, keypoints, ground truth."""
        return self.extras / "frames" / f"{segment}.npz"

    def headset(self, segment: str, camera: str, number: int) -> Path:
        return self.extras / "headset" / segment / camera / f"{number:06d}.png"

    def headset_mask(self, segment: str, camera: str, number: int) -> Path:
        return self.extras / "headset_mask" / segment / camera / f"{number:06d}.png"

    def check(self) -> None:
        """Raise a CaptureError unless the folder exists and looks like a capture."""
        with reading(self.root):
            if not self.root.is_dir():
                hint = "Name the folder that holds frame_list.txt and KRT."
                raise CaptureError(f"there is no folder {self.root}", hint)
            if not self.krt.is_file() and not self.meshes.is_dir():
                inner = [path.name for path in sorted(self.root.iterdir()) if (path / "KRT").is_file()]
                hint = f"Did you mean {self.root / inner[0]}?" if inner else "It should hold KRT and tracked_mesh."
                raise CaptureError(f"{self.root} is no capture: it has neither KRT nor tracked_mesh", hint)


@contextlib.contextmanager
def reading(root: Path) -> Iterator[None]:
    """Turn errors of the file system below a capture into CaptureErrors that name the file."""
    try:
        yield
    except OSError as error:
        raise unreadable(Path(os.fsdecode(error.filename)) if error.filename else root, error) from error


def unreadable(path: Path, error: OSError) -> CaptureError:
    """Give the CaptureError for a file or folder that the system refuses to read."""
    if isinstance(error, FileNotFoundError):
        return CaptureError(f"{path} is missing", "Download or write the capture again.")
    return CaptureError(
        f"{path} can't be read: {error.strerror or error}", "Check its permissions, its links and the disk."
    )


def name_problem(name: str) -> str | None:
    """Say why the name of a segment or camera can't be that of a folder, or give None."""
    if name in (".", "..") or any(character in "/\\" or character < " " for character in name):
        return "is no plain name of a folder: it holds a slash, a control character, or dots only"
    if len(name.encode(errors="replace")) > LONGEST_NAME:
        return f"is longer than {LONGEST_NAME} bytes"
    return None


def is_held_out(segment: str, prefixes: Sequence[str] = HELD_OUT) -> bool:
    """Tell whether a segment belongs to the held-out split."""
    return segment.startswith(tuple(prefixes))


def numbers_in(folder: Path, suffix: str) -> set[int]:
    """Give the frame numbers of the files in a folder whose names are six digits or more, and a suffix.

    Returns:
        The numbers; none if the folder does not exist.

    Raises:
        CaptureError: If the folder can't be read.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as error:
        raise unreadable(folder, error) from error
    end = len(suffix)
    stems = (name[:-end] for name in names if name.endswith(suffix))
    return {int(stem) for stem in stems if stem.isascii() and stem.isdecimal() and stem == f"{int(stem[:9]):06d}"}


def folders_in(folder: Path) -> list[str]:
    """Give the names of the folders in a folder, sorted; none if it does not exist.

    Raises:
        CaptureError: If the folder can't be read.
    """
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if not entry.name.startswith(".") and _is_folder(entry))
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise unreadable(folder, error) from error


def _is_folder(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link that leads to itself, told when the folder is read
        return True
