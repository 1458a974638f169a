"""What each page takes for granted beside the models in runs/: what it says in words, and blocks do not show."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import torch
from docs_blocks import ROOT
from docs_reader import Reader

import lipflow_core
from lipflow_core.interfaces import Flow
from lipflow_core.plans import CaptureInputs
from lipflow_core.png import encode_png
from lipflow_core.splits import load_frames

FACE = """name: face
capture: dome
encoder: dam
driving: hmc
prior: flow
flow:
  type: glow
  stpes: 2
decoder: dam
fitting:
  steps: many
  objectives: [{type: photometric, target: headset}]
"""


SMALL_GRID = """name: small
systems: {dam: dam, lip-kl: lip-kl-hmc}
tasks: [decode]
set: {preset: tiny}
baseline: dam
claims: [lip-kl > dam by 0.1 psnr on decode]
"""


def held_out(names: tuple[str, ...], count: int = 4):
    """Load held-out frames of the small dome."""
    spec = lipflow_core.load_spec("lip-flow-hmc", ["preset=tiny"])
    return load_frames(spec.capture.build(CaptureInputs()).split("held-out"), np.arange(count), names)


def ablation(reader: Reader) -> None:
    """The page's grid, cut to what trains in seconds."""
    Path("small-grid.yaml").write_text(SMALL_GRID)


def captures(reader: Reader) -> None:
    """A capture of others, under the name that it has there."""
    Path("m--20180227--0000--6795937--GHS").symlink_to("captures/p05")


def driving(reader: Reader) -> None:
    """A folder of headset pictures, as the page shows it."""
    levels = (held_out(("headset",))["headset"].images * 255).round().byte().numpy()
    for column, view in enumerate(("right-eye", "left-eye", "mouth")):
        folder = Path("headset-pictures", view)
        folder.mkdir(parents=True)
        for row, pictures in enumerate(levels, 1):
            enlarged = np.kron(pictures[column, 0], np.ones((20, 20), np.uint8))  # to the 480 × 640 of cameras.json
            (folder / f"{row:06d}.png").write_bytes(encode_png(enlarged[..., None]))
    Path("FOLDER").symlink_to("headset-pictures")
    Path("cameras.json").symlink_to("headset-pictures/cameras.json")


def fitting(reader: Reader) -> None:
    """An opened model and frames of its capture."""
    avatar, spec = lipflow_core.open_model("runs/lip-flow-hmc")
    reader.names.update(lipflow_core=lipflow_core, avatar=avatar, spec=spec, frame=held_out(("headset",)))


def flows(reader: Reader) -> None:
    """A flow, codes and features of the driving encoder."""
    avatar, _ = lipflow_core.open_model("runs/lip-flow-hmc")
    flow = next(module for module in avatar.modules() if isinstance(module, Flow))
    context = torch.zeros(1, flow.given.context)
    reader.names.update(flow=flow, code=torch.zeros(1, flow.given.features), context=context)


def other_surfaces(reader: Reader) -> None:
    """The checkout's example distributions."""
    shutil.copytree(ROOT / "tests/downstream", "tests/downstream", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree("tests/downstream", ".", dirs_exist_ok=True)


def plugin_api(reader: Reader) -> None:
    """Plugins under the names that the page uses."""
    for name, kind in (
        ("my-prior", "prior"),
        ("my-sensor", "encoder"),
        ("my-capture", "capture"),
        ("my-renderer", "renderer"),
    ):
        reader.command(f"lipflow-core new plugin {name} --kind {kind}")
        reader.install(Path(name))


def specs(reader: Reader) -> None:
    """A decoder built elsewhere, and a spec with two mistakes."""
    Path("face.yaml").write_text(FACE)
    reader.names["my_decoder"] = lipflow_core.assemble(lipflow_core.load_spec("lip-flow-hmc", ["preset=tiny"])).decoder


def systems(reader: Reader) -> None:
    """The page trains runs/lip-flow-hmc itself."""
    shutil.rmtree("runs/lip-flow-hmc")


PRESUMED = {
    "docs/ablation.md": ablation,
    "docs/captures.md": captures,
    "docs/driving.md": driving,
    "docs/fitting.md": fitting,
    "docs/flows.md": flows,
    "docs/other-surfaces.md": other_surfaces,
    "docs/plugin-api.md": plugin_api,
    "docs/specs.md": specs,
    "docs/systems.md": systems,
}
