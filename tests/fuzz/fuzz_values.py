"""Mutations of values: of the trees that YAML and JSON hold, of text, and of arrays."""

from __future__ import annotations

import copy
import math
from random import Random
from typing import Any

import numpy

LONG = 10_000
DEEP = "@deep@"
"""Stands for nesting that is deeper than Python can write; `deepened` puts it into the text."""

VALUES: tuple[Any, ...] = (
    *(None, True, False, 0, -1, 1, 2, 3, 7, 10**6, 10**9, 2**31, 2**63, 2**64, 10**30, -(10**18)),
    *(0.0, -0.0, 0.5, 1e-300, 1e30, 1e300, -1e300, math.nan, math.inf, -math.inf),
    *("", " ", "0", "1", "nan", "null", "~", "yes", "dam", "kl", "flow", "glow", "dome", "multiface", "headset", "*"),
    *(
        "../victim/file",
        "..",
        "/",
        "/proc/nonexistent/file",
        ".",
        "a/b",
        "-",
        "--out",
        "=",
        "#",
        "a: b",
        "{",
        "[",
        "!!x",
    ),
    *(
        "\x00",
        "a\x00b",
        "\x1b[31mred\x1b[0m",
        "\u202eright to left",
        "é\u0301",
        "\ud83d\ude00",
        "\ufeff",
        "\r\n",
        "\u2028",
    ),
    *("x" * LONG, "1" * 400, "é" * 300, "%s%n{0}", "<script>alert(1)</script>", "__class__", "builtins:exec"),
    *(
        [],
        {},
        [[]],
        [None],
        [1, 2, 3],
        [0] * LONG,
        {"type": "dam"},
        {"type": None},
        {"type": []},
        {"": ""},
        {"start": 1},
    ),
)


def odd_value(random: Random) -> Any:
    """A value that few options expect."""
    return copy.deepcopy(random.choice(VALUES))


def _nested(random: Random) -> Any:
    if random.random() < 0.3:
        return DEEP
    value: Any = 1
    wrap_in_list = random.random() < 0.5
    for _ in range(random.choice((10, 100))):
        value = [value] if wrap_in_list else {"a": value}
    return value


def deepened(text: str, random: Random) -> str:
    """Put deep nesting where its mark stands in a YAML or JSON text."""
    opened, closed = random.choice(("[]", ('{"a":', "}")))
    deep = opened * 3_000 + "1" + closed * 3_000
    return text.replace(f'"{DEEP}"', deep).replace(f"'{DEEP}'", deep)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every place in a tree, as (container, key)."""
    found, left = [], [tree]
    while left:
        node = left.pop()
        for key in list(node) if isinstance(node, dict) else range(len(node)):
            found.append((node, key))
            if isinstance(node[key], dict | list):
                left.append(node[key])
    return found


def mutate_tree(tree: Any, random: Random) -> Any:
    """A changed copy of a tree of dicts, lists and plain values."""
    tree = copy.deepcopy(tree)
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        places = _places(tree) if isinstance(tree, dict | list) else []
        if not places or random.random() < 0.02:
            return odd_value(random)
        node, key = random.choice(places)
        old = node[key]
        way = random.randrange(9)
        if way == 0:
            del node[key]
        elif way == 1 and isinstance(node, dict):
            node[random.choice(("x", "type", "", "tpye", 1, None, "a\x1bb", "é", f"{key} "))] = odd_value(random)
        elif way == 2 and isinstance(node, dict):
            node[random.choice((f"{key}s", str(key).upper(), f"{key}.{key}", 7))] = node.pop(key)
        elif way == 3:
            other, at = random.choice(places)
            node[key] = copy.deepcopy(other[at])
        elif way == 4:
            node[key] = [old] * random.choice((1, 2, 300))
        elif way == 5 and isinstance(old, int | float) and not isinstance(old, bool):
            node[key] = random.choice((-old, old + 1, old * 1000, old / 3, str(old), [old], float(old), old * 10**12))
        elif way == 6 and isinstance(old, str):
            node[key] = random.choice(
                (old[:-1], old.upper(), f" {old}", f"{old}/..", f"../{old}", [old], f"{old}\n", old * 50)
            )
        elif way == 7 and random.random() < 0.3:
            node[key] = _nested(random)
        else:
            node[key] = odd_value(random)
    return tree


def mutate_bytes(data: bytes, random: Random) -> bytes:
    """Changed bytes of a file of any format."""
    at, end = sorted((random.randrange(len(data) + 1), random.randrange(len(data) + 1)))
    ways = (
        lambda: data[:at],
        lambda: data[at:],
        lambda: data[:at] + data[end:],
        lambda: data[:at] + data[at:end] * 2 + data[end:],
        lambda: b"",
        lambda: data + b"\x00" * 100,
        lambda: data + data,
        lambda: data[:at] + random.randbytes(8) + data[at:],
        lambda: data[:at] + random.randbytes(min(4, len(data) - at)) + data[at + 4 :],
        lambda: random.randbytes(200),
        lambda: bytes(len(data)),
    )
    return random.choice(ways)()


def mutate_text(data: bytes, random: Random) -> bytes:
    """Changed bytes of a text file: lines, numbers, ends of lines, marks of encodings."""
    lines = data.split(b"\n")
    at = random.randrange(len(lines))
    words = lines[at].split(b" ")
    word = random.randrange(len(words))
    odd = str(odd_value(random)).encode("utf-8", "surrogatepass")

    def with_line(*new: bytes) -> bytes:
        return b"\n".join([*lines[:at], *new, *lines[at + 1 :]])

    ways = (
        lambda: with_line(),
        lambda: with_line(lines[at], lines[at]),
        lambda: with_line(b" ".join([*words[:word], odd, *words[word + 1 :]])),
        lambda: with_line(
            b" ".join(
                [
                    *words[:word],
                    random.choice((b"nan", b"inf", b"1e300", b"-1", b"1e-300", b"x", b"99999999999")),
                    *words[word + 1 :],
                ]
            )
        ),
        lambda: with_line(b" ".join(words[:word])),
        lambda: with_line(lines[at] + b" " + odd),
        lambda: with_line(lines[random.randrange(len(lines))]),
        lambda: b"\xef\xbb\xbf" + data,
        lambda: data.replace(b"\n", b"\r\n"),
        lambda: data.replace(b"\n", b"\r"),
        lambda: data.replace(b" ", b"\t"),
        lambda: data.decode("utf-8", "replace").encode("utf-16"),
        lambda: data.replace(b",", b"\xff,", 1),
        lambda: b"\n" * 50 + data,
        lambda: mutate_bytes(data, random),
    )
    return random.choice(ways)()


def mutate_array(array: numpy.ndarray, random: Random) -> numpy.ndarray:
    """An array of another dtype, shape or content."""
    array = array.copy()
    flat = array.reshape(-1)
    way = random.randrange(8)
    if way == 0:
        return array.astype(random.choice(("float16", "float64", "int8", "int64", "uint8", "bool")))
    if way == 1:
        return array[: len(array) // 2] if array.ndim else array[None]
    if way == 2:
        return array.reshape(array.shape[::-1])
    if way == 3:
        return array[None]
    if way == 4:
        return array.reshape(-1)[:0]
    if way == 5 and array.dtype.kind == "f":
        flat[random.randrange(max(1, flat.size)) if flat.size else slice(0)] = random.choice(
            (math.nan, math.inf, 1e30, -1e30)
        )
    elif way == 6 and array.dtype.kind == "f":
        flat[:] = random.choice((math.nan, math.inf, 0, 1e30, 1e-38))
    elif way == 7 and array.dtype.kind in "iu" and flat.size:
        flat[random.randrange(flat.size)] = numpy.iinfo(array.dtype).max
    elif flat.size and array.dtype.kind in "fiu":
        flat[random.randrange(flat.size)] = -1 if array.dtype.kind != "u" else 200
    return array
