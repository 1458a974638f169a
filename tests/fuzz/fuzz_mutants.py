"""The mutants of each kind: one seed makes one mutant and the command that it is given to."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

import yaml
from fuzz_files import copied, mutate_folder, rehash, yaml_text
from fuzz_materials import Materials
from fuzz_values import mutate_text, mutate_tree, odd_value

from lipflow_core.shipped import shipped
from lipflow_core.specs import dump_spec, load_spec

SPECS = ("dam", "dam-flow", "lip-flow-hmc", "lip-kl-keypoint-annealed", "dam-hmc-regressor", "lip-flow-keypoint-affine")


@dataclass(frozen=True)
class Mutant:
    """A command and what it may write.

    Args:
        arguments: Of `lipflow-core`.
        about: What was changed.
        writes: Files and folders that the command may write.
    """

    arguments: list[str]
    about: str
    writes: list[Path] = field(default_factory=list)


def make_mutant(kind: str, seed: int, materials: Materials, place: Path) -> Mutant:
    """Make a mutant in an empty folder.

    Args:
        kind: One of `KINDS`.
        seed: Any number.
        materials: What it is made of.
        place: The folder; `victim` in it must exist and is not to be written by any command.
    """
    return KINDS[kind](Random(f"{kind} {seed}"), materials, place)


def _spec(random: Random, materials: Materials, place: Path) -> Mutant:
    name = random.choice(SPECS)
    short = yaml.safe_load(_shipped(name))
    tree = random.choice((short, short, _whole(name)))
    if random.random() < 0.75:
        tree = mutate_tree(tree, random)
        data = yaml_text(tree, random)
    else:
        data = mutate_text(random.choice((_shipped(name).encode(), yaml_text(tree, random))), random)
    file = place / random.choice(("spec.yaml", "spec.yaml", "spec.json", "spec", "a b.yml"))
    file.write_bytes(data)
    small = random.choice(([], ["preset=tiny"]))
    form = random.choice(([], [], ["--json"]))
    return Mutant(["assemble", str(file), "--check", *small, *form], f"{name}, {file.name}")


def _override(random: Random, materials: Materials, place: Path) -> Mutant:
    name = random.choice(SPECS)
    keys = _keys(_whole(name))
    given = []
    for _ in range(random.choice((1, 1, 2, 3))):
        key = random.choice(keys)
        if random.random() < 0.3:
            key = mutate_text(key.encode(), random).decode("utf-8", "replace").replace("\x00", "")
        value = random.choice(
            (
                _written(odd_value(random)),
                _written(odd_value(random)),
                random.choice(
                    (
                        "a: b",
                        "{a",
                        "[1",
                        "'",
                        "&a *a",
                        "!!python/object:os.system x",
                        "{start: 0, end: 1}",
                        "{type: kl}",
                        "<<: 1",
                        "? x",
                        "%",
                        "@",
                        "- 1",
                        "|\n x",
                    )
                ),
            )
        )
        given.append(f"{key}={value}")
    given = [text.replace("\x00", "\\0").replace("\ud83d", "") for text in given]  # no argument can hold these
    about = " ".join(given)[:200]
    if random.random() < 0.05:
        free = [text for text in given if text.startswith(("fitting", "evaluation"))]
        return Mutant(
            [
                "fit",
                str(materials.dam),
                "--frames",
                "0",
                *(free or given),
                "fitting.steps=1",
                "--out",
                str(place / "out"),
            ],
            about,
            [place / "out"],
        )
    return Mutant(["assemble", name, "--check", *given], about)


def _model(random: Random, materials: Materials, place: Path) -> Mutant:
    name = random.choices(("dam", "lip-flow-hmc", "stopped"), (4, 2, 1))[0]
    model = copied(materials.root / name, place / "model")
    about = f"{name}: {mutate_folder(model, place / 'victim', random)}"
    if random.random() < 0.6:
        rehash(model)
    out = place / "out"
    if name == "stopped" or random.random() < 0.05:
        spec = str(materials.root / "dam" / "spec.yaml") if random.random() < 0.7 else str(model / "spec.yaml")
        return Mutant(["train", spec, "--out", str(model), "--resume", "--quiet"], about, [model])
    command = random.choices(("sample", "fit", "evaluate"), (8, 2, 0.5))[0]
    more = {
        "sample": ["--count", "1"],
        "fit": ["--frames", "0", "fitting.steps=1"],
        "evaluate": ["--count", "1", "fitting.steps=1", "fitting.grid={}"],
    }[command]
    return Mutant([command, str(model), *more, "--out", str(out)], about, [out])


def _capture(random: Random, materials: Materials, place: Path) -> Mutant:
    capture, pack = place / "capture", place / "pack"
    overlay = ["capture", "overlay", str(capture), "--height", "40", "--frames", "0", "--out", str(place / "out.png")]
    packing = ["capture", "pack", str(capture), "--preset", "tiny", "--workers", "1", "--out", str(pack)]
    reading = f"capture={{type: multiface, path: {capture}, image: 16, texture: 16, cache: {pack}}}"
    if random.random() < 0.15:
        # A pack's name repeats its capture's folder.
        capture.symlink_to(materials.capture)
        copied(materials.pack, pack)
        return Mutant(packing, f"pack: {mutate_folder(pack, place / 'victim', random)}", [pack])
    copied(materials.capture, capture)
    about = mutate_folder(capture, place / "victim", random)
    fit = ["fit", str(materials.dam), "--frames", "0", "fitting.steps=1", reading, "--out", str(place / "out")]
    train = ["train", "dam", "preset=tiny", "training.stages.0.steps=1", reading, "--out", str(place / "out")]
    commands = {
        "validate": (["capture", "validate", str(capture)], []),
        "deep": (["capture", "validate", str(capture), "--deep"], []),
        "overlay": (overlay, [place / "out.png"]),
        "pack": (packing, [pack]),
        "fit": (fit, [place / "out", pack]),
        "train": (train, [place / "out", pack]),
    }
    arguments, writes = commands[random.choices(list(commands), (8, 1, 1, 3, 0.5, 0.1))[0]]
    return Mutant(arguments, about, writes)


def _result(random: Random, materials: Materials, place: Path) -> Mutant:
    name = random.choices(("fit", "grid", "evaluation"), (3, 1, 3))[0]
    out = copied(materials.root / name, place / "out")
    about = f"{name}: {mutate_folder(out, place / 'victim', random)}"
    if name != "evaluation":
        grid = ["fitting.grid={learning_rate: [0.1, 0.01]}"] if name == "grid" else []
        return Mutant(["fit", str(materials.dam), "--frames", "0", *grid, "--out", str(out)], about, [out])
    if random.random() < 0.6:
        arguments = ["evaluate", str(materials.dam), "--count", "1", "fitting.grid={}", "--out", str(out)]
        return Mutant(arguments, about, [out])
    page = place / "report.html"
    return Mutant(["report", str(out), "--out", str(page)], about, [page])


KINDS: dict[str, Callable[[Random, Materials, Path], Mutant]] = {
    "spec": _spec,
    "override": _override,
    "model": _model,
    "capture": _capture,
    "result": _result,
}


_TEXTS: dict[str, str] = {}
_TREES: dict[str, dict] = {}


def _shipped(name: str) -> str:
    if name not in _TEXTS:
        _TEXTS[name] = (shipped("specs") / f"{name}.yaml").read_text(encoding="utf-8")
    return _TEXTS[name]


def _whole(name: str) -> dict:
    """A spec with every option and its default."""
    if name not in _TREES:
        _TREES[name] = yaml.safe_load(dump_spec(load_spec(name, ["preset=tiny"])))
    return _TREES[name]


def _keys(tree: object, before: str = "") -> list[str]:
    pairs = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else ()
    found = []
    for key, value in pairs:
        found += [f"{before}{key}", *_keys(value, f"{before}{key}.")]
    return found


def _written(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False) if not isinstance(value, str | float) else str(value)
    except (ValueError, RecursionError):
        return "x"
