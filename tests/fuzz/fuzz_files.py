"""Mutations of files and folders. What is a hard link to the unchanged material is never written in place."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

import numpy
import safetensors.numpy
import yaml
from fuzz_values import deepened, mutate_array, mutate_bytes, mutate_text, mutate_tree
from PIL import Image

SMALL = 100_000
TEXT = {".txt", ".obj", ".csv", ".yaml", ".json", ".jsonl", ""}


def copied(source: Path, target: Path) -> Path:
    """Copy a folder; large files become hard links."""

    def copy(one: str, other: str) -> None:
        os.link(one, other) if os.path.getsize(one) > SMALL else shutil.copyfile(one, other)

    return Path(shutil.copytree(source, target, copy_function=copy))


def replace(path: Path, data: bytes) -> None:
    """Put a new file in a file's place."""
    path.unlink()
    path.write_bytes(data)


def mutate_folder(folder: Path, victim: Path, random: Random) -> str:
    """Change one or two files of a folder; says which and how."""
    said = []
    for _ in range(random.choice((1, 1, 1, 2))):
        files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
        if not files:
            break
        # Of each format alike: else nearly all would be pictures.
        formats = sorted({(path.suffix, path.name[:3] if path.suffix in TEXT else "") for path in files})
        suffix, begin = random.choice(formats)
        path = random.choice([p for p in files if p.suffix == suffix and p.name.startswith(begin)])
        said.append(f"{path.relative_to(folder)}: {_mutate(path, files, folder, victim, random)}")
    return "; ".join(said)


def _mutate(path: Path, files: list[Path], folder: Path, victim: Path, random: Random) -> str:
    if random.random() < 0.3:
        way = random.choice(PLACES)
        if path.parent == folder and way in (_folder_linked_outside, _folder_removed):
            way = _removed  # a folder that is named may be a link
        way(path, random.choice(files), victim)
        return way.__name__.strip("_")
    data = path.read_bytes()
    if random.random() < 0.7:
        by_format = {
            ".json": _json,
            ".yaml": _yaml,
            ".safetensors": _safetensors,
            ".npz": _npz,
            ".npy": _npy,
            ".png": _png,
            ".bin": _floats,
            ".jsonl": mutate_text,
        }.get(path.suffix, mutate_text)
    else:
        by_format = mutate_text if path.suffix in TEXT else mutate_bytes
    try:
        changed = by_format(data, random)
    except Exception:  # a second change of the same file, which its format no longer allows
        changed = mutate_bytes(data, random)
    replace(path, changed)
    return by_format.__name__.strip("_")


def _json(data: bytes, random: Random) -> bytes:
    text = json.dumps(mutate_tree(json.loads(data), random), ensure_ascii=random.random() < 0.5)
    text = deepened(text, random)
    if random.random() < 0.05:  # a key twice
        text = text.replace('{"', '{"format": "x", "', 1)
    return text.encode("utf-8", "surrogatepass")


def _yaml(data: bytes, random: Random) -> bytes:
    return yaml_text(mutate_tree(yaml.safe_load(data), random), random)


def yaml_text(tree: object, random: Random) -> bytes:
    """A tree as YAML or JSON."""
    if random.random() < 0.7:
        text = yaml.safe_dump(tree, allow_unicode=random.random() < 0.5, sort_keys=False)
    else:
        text = json.dumps(tree)
    return deepened(text, random).encode("utf-8", "surrogatepass")


def _safetensors(data: bytes, random: Random) -> bytes:
    size = int.from_bytes(data[:8], "little")
    if random.random() < 0.2:
        header = json.dumps(mutate_tree(json.loads(data[8 : 8 + size]), random)).encode("utf-8", "surrogatepass")
        return len(header).to_bytes(8, "little") + header + data[8 + size :]
    arrays = safetensors.numpy.load(data)
    metadata = json.loads(data[8 : 8 + size]).get("__metadata__")
    return safetensors.numpy.save(_mutated_arrays(arrays, random), metadata)


def _mutated_arrays(arrays: dict[str, numpy.ndarray], random: Random) -> dict[str, numpy.ndarray]:
    name = random.choice(sorted(arrays))
    way = random.randrange(8)
    if way == 0:
        del arrays[name]
    elif way == 1:
        arrays[random.choice(("x", f"{name}.x", "a\x1bb"))] = arrays.pop(name)
    elif way == 2:
        arrays[name] = arrays[random.choice(sorted(arrays))]
    else:
        arrays[name] = numpy.ascontiguousarray(mutate_array(arrays[name], random))
    return arrays


def _npz(data: bytes, random: Random) -> bytes:
    with numpy.load(io.BytesIO(data)) as loaded:
        arrays = _mutated_arrays(dict(loaded), random)
    if random.random() < 0.1:
        arrays["objects"] = numpy.array([{"a": 1}], dtype=object)
    file = io.BytesIO()
    numpy.savez(file, **arrays)
    return file.getvalue()


def _npy(data: bytes, random: Random) -> bytes:
    file = io.BytesIO()
    array = numpy.load(io.BytesIO(data))
    array = array.astype(object) if random.random() < 0.05 else mutate_array(array, random)
    numpy.save(file, array, allow_pickle=True)
    return file.getvalue()


def _png(data: bytes, random: Random) -> bytes:
    picture = Image.open(io.BytesIO(data))
    way = random.randrange(5)
    if way == 0:
        picture = picture.convert(random.choice(("1", "L", "RGBA", "P", "I;16", "LA")))
    elif way == 1:
        picture = picture.resize((random.choice((1, 3, 500)), random.choice((1, 7, 400))))
    elif way == 2:
        picture = picture.resize((random.choice((1, 9000)), 1))
    elif way == 3:  # a header that promises a huge picture
        width, height = (random.choice((0, 2**20, 2**31 - 1)).to_bytes(4, "big") for _ in range(2))
        return data[:16] + width + height + data[24:]
    file = io.BytesIO()
    picture.save(file, random.choice(("PNG", "PNG", "TIFF", "GIF")) if way == 4 else "PNG")
    return file.getvalue()


def _floats(data: bytes, random: Random) -> bytes:
    return mutate_array(numpy.frombuffer(data[: len(data) // 4 * 4], "<f4"), random).tobytes()


def _removed(path: Path, other: Path, victim: Path) -> None:
    path.unlink()


def _folder(path: Path, other: Path, victim: Path) -> None:
    path.unlink()
    path.mkdir()


def _pipe(path: Path, other: Path, victim: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def _link_to_nothing(path: Path, other: Path, victim: Path) -> None:
    path.unlink()
    path.symlink_to("nothing")


def _link_to_itself(path: Path, other: Path, victim: Path) -> None:
    path.unlink()
    path.symlink_to(path.name)


def _link_outside(path: Path, other: Path, victim: Path) -> None:
    path.unlink()
    path.symlink_to(victim / "file")


def _link_to_its_content_outside(path: Path, other: Path, victim: Path) -> None:
    shutil.copyfile(path, victim / "content")
    path.unlink()
    path.symlink_to(victim / "content")


def _another_file(path: Path, other: Path, victim: Path) -> None:
    data = other.read_bytes()
    replace(path, data)


def _folder_linked_outside(path: Path, other: Path, victim: Path) -> None:
    """The file's folder becomes a link to its content elsewhere."""
    place = victim / "folder"
    if place.exists():
        return
    shutil.move(path.parent, place)
    path.parent.symlink_to(place)


def _folder_removed(path: Path, other: Path, victim: Path) -> None:
    shutil.rmtree(path.parent)


def _not_readable(path: Path, other: Path, victim: Path) -> None:
    data = path.read_bytes()
    replace(path, data)
    path.chmod(0)


PLACES: tuple[Callable[[Path, Path, Path], None], ...] = (
    _removed,
    _folder,
    _pipe,
    _link_to_nothing,
    _link_to_itself,
    _link_outside,
    _link_to_its_content_outside,
    _another_file,
    _folder_linked_outside,
    _folder_removed,
    _not_readable,
)


def rehash(model: Path) -> None:
    """Let a model's lock list the hashes of its files, as a stranger could who changed them on purpose."""
    lock = model / "lock.json"
    if not all((model / name).is_file() for name in ("lock.json", "spec.yaml", "weights.safetensors")):
        return  # a pipe's reader would wait for ever
    try:
        content = json.loads(lock.read_bytes())
        for name in content["sha256"]:
            content["sha256"][name] = hashlib.sha256((model / name).read_bytes()).hexdigest()
        replace(lock, json.dumps(content).encode())
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return
