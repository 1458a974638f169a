"""Measure how fast captures are simulated, written and read, packed and not, and how soon a large one opens.

    python benchmarks/captures.py [--sequences N] [--steps N] [--batches N]

Simulating and writing are measured in processor time against encoding the same pictures with Pillow, which needs the
same work on any machine. Reading is measured in samples a second, with one thread, against what training consumes; with
--steps 0 training is left out. A capture of 12,000 frames at the paper's sizes, made of sparse files, is opened in a
process of its own. All ratios are of one run.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from lipflow_dome.capture import DomeCapture
from lipflow_dome.config import DomeConfig
from lipflow_kit.packing import FORMAT
from lipflow_kit.png_files import write_picture
from lipflow_kit.store import Store
from lipflow_multiface.capture import MultifaceCapture
from lipflow_multiface.config import MultifaceConfig
from lipflow_multiface.frame_index import signature
from lipflow_multiface.krt import KrtCamera, format_krt
from lipflow_multiface.layout import AVERAGE, CaptureFolder
from lipflow_multiface.obj_files import Mesh
from lipflow_multiface.obj_text import format_mesh
from lipflow_multiface.tracked_mesh import format_transform
from lipflow_multiface.writing import write_capture
from PIL import Image

from lipflow_core.interfaces import FrameRequest, Renderer, Split
from lipflow_core.plans import CaptureInputs
from lipflow_core.specs import load_spec
from lipflow_core.training import train

BATCH, VIEWS = 16, 1
OBSERVATIONS = ("dome", "face", "headset")
SEGMENTS, FRAMES, CAMERAS, VERTICES = 60, 200, 40, 7306
PICTURE, TEXTURE, HEADSET = (2048, 1334), 1024, (480, 640)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sequences", type=int, default=24)
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--open", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.open is not None:
        open_large(args.open)
        return
    with tempfile.TemporaryDirectory() as folder:
        compare(Path(folder), args)
        make_large(Path(folder) / "large")
        subprocess.run([sys.executable, __file__, "--open", str(Path(folder) / "large")], check=True)


def compare(folder: Path, args: argparse.Namespace) -> None:
    """Simulate, write, pack, and time reading and training."""
    torch.set_num_threads(1)
    options = {**DomeConfig.presets["small"], "sequences": args.sequences, "held_out_sequences": 2, "workers": 1}
    simulated = DomeCapture(DomeConfig(**options, cache=folder / "dome"), CaptureInputs())
    renderer = simulated.config.renderer.build(simulated.config.renderer_inputs)
    warm(simulated, renderer, folder)
    begin = time.process_time()
    frames = sum(len(simulated.split(name)) for name in ("train", "held-out"))
    filmed = time.process_time()
    write_capture(simulated, folder / "subject", renderer, workers=1, style="none")
    written = time.process_time()
    encoding = pillow(folder / "subject")
    small = DomeConfig(**DomeConfig.presets["small"])
    every = (small.sequences + small.held_out_sequences) * small.frames_per_sequence
    print(
        f"{frames} frames of preset small, processor time; encoding their pictures with Pillow alone {encoding:.1f} s:"
    )
    print(f"  simulating  {filmed - begin:6.1f} s   {(filmed - begin) / encoding:.1f} × Pillow")
    print(f"  writing     {written - filmed:6.1f} s   {(written - filmed) / encoding:.1f} × Pillow")
    whole = (written - begin) / frames * every
    print(f"  all {every} frames of small: {whole:.0f} s, on two cores {whole / 2:.0f} s (aim: 120)")
    config = MultifaceConfig(path=folder / "subject", cache=folder / "packed", image=96, texture=64)
    unpacked = MultifaceCapture(config, CaptureInputs()).split("train")
    capture = MultifaceCapture(config, CaptureInputs())
    begin = time.perf_counter()
    packed = capture.pack(style="none")["train"]
    print(f"packing them: {frames / (time.perf_counter() - begin):.0f} frames/s")

    decoding = rate(args.batches // 4, lambda step: decode(unpacked, step))
    reading = rate(args.batches // 4, lambda step: unpacked.load(request(unpacked, step)))
    from_pack = rate(args.batches, lambda step: packed.load(request(packed, step)))
    print(f"one thread, batches of {BATCH} at preset small, samples/s:")
    print(f"  PNG layout, decoding alone  {decoding:8.0f}")
    print(f"  PNG layout, with masks      {reading:8.0f}")
    print(f"  packed cache                {from_pack:8.0f}   {from_pack / decoding:.1f} × decoding alone (aim: 10)")
    if args.steps:
        consumed = training_rate(config, folder / "run", args.steps)
        print(
            f"  consumed by training        {consumed:8.0f}   the pack gives {from_pack / consumed:.1f} × this (aim: 5)"
        )


def warm(simulated: DomeCapture, renderer: Renderer, folder: Path) -> None:
    """Compile what is compiled on first use, and set up what every frame needs."""
    simulated.template()
    few = {**simulated.config.model_dump(), "sequences": 1, "held_out_sequences": 1, "cache": folder / "warm"}
    write_capture(DomeCapture(DomeConfig(**few), CaptureInputs()), folder / "warm-subject", renderer, style="none")


def pillow(folder: Path) -> float:
    """Processor seconds that Pillow, at its first level, takes to encode every picture of a capture again."""
    seconds = 0.0
    for path in sorted(folder.rglob("*.png")):
        with Image.open(path) as picture:
            picture.load()
            begin = time.process_time()
            picture.save(io.BytesIO(), "PNG", compress_level=1)
            seconds += time.process_time() - begin
    return seconds


def request(split: Split, step: int) -> FrameRequest:
    """What training asks for at a step."""
    random = np.random.default_rng(step)
    indices = random.integers(0, len(split), BATCH)
    return FrameRequest(indices, OBSERVATIONS, random.integers(0, len(split.cameras), (BATCH, VIEWS)))


def decode(split: Split, step: int) -> None:
    """The least that reading a batch from the PNG layout costs: each file opened and decoded once."""
    asked = request(split, step)
    for index, cameras in zip(asked.indices.tolist(), asked.cameras.tolist(), strict=True):
        segment, number = split.frames[index]
        split.reader.vertices(segment, number)
        split.reader.pose(segment, number)
        split.reader.texture(segment, AVERAGE, number)
        for camera in cameras:
            split.reader.picture(segment, camera, number)
        for camera in ("right-eye", "left-eye", "mouth"):
            split.reader.headset(segment, camera, number)


def rate(batches: int, make: Callable[[int], object]) -> float:
    """Samples a second, after one batch to warm up."""
    make(0)
    begin = time.perf_counter()
    for step in range(1, batches + 1):
        make(step)
    return BATCH * batches / (time.perf_counter() - begin)


def training_rate(config: MultifaceConfig, out: Path, steps: int) -> float:
    """Samples a second that training consumes, without evaluations, checkpoints and the first steps."""
    capture = f"capture={{type: multiface, path: {config.path}, cache: {config.cache}, image: 96, texture: 64}}"
    steps_option = f"training.stages.0.steps={steps + 5}"
    seldom = ["training.evaluate_every=100000", "training.checkpoint_every=100000", "training.threads=1"]
    views = [f"training.views={VIEWS}", f"training.batch={BATCH}"]
    spec = load_spec("lip-flow-hmc", ["preset=small", "device=cpu", capture, steps_option, *seldom, *views])
    times: list[float] = []

    def tick() -> bool:
        times.append(time.perf_counter())
        return False

    train(spec, out, stop=tick)
    counted = times[5 : steps + 5]
    return BATCH * (len(counted) - 1) / (counted[-1] - counted[0])


def make_large(folder: Path) -> None:
    """A subject of 12,000 frames at the paper's sizes: its small files, its folders, and a pack of sparse files."""
    root = CaptureFolder(folder / "subject")
    segments = [f"EXP_ROM_{n:02d}" if n % 12 == 0 else f"EXP_take_{n:02d}" for n in range(SEGMENTS)]
    names = [f"4000{n:02d}" for n in range(CAMERAS)]
    for segment in segments:
        (root.meshes / segment).mkdir(parents=True)
        for name in names:
            (root.pictures / segment / name).mkdir(parents=True)
        (root.textures / segment / AVERAGE).mkdir(parents=True)
    frames = [(segment, number) for segment in segments for number in range(FRAMES)]
    root.frame_list.write_text("".join(f"{segment} {number:06d}\n" for segment, number in frames))
    k = np.array([[7000.0, 0, 667], [0, 7000, 1024], [0, 0, 1]])
    rt = np.array([[1.0, 0, 0, 0], [0, -1, 0, 0], [0, 0, -1, 1000]])
    root.krt.write_text(format_krt([KrtCamera(name, k, np.zeros(5), rt) for name in names]))
    random = np.random.default_rng(0)
    vertices = random.uniform(-100, 100, (VERTICES, 3)).astype(np.float32)
    triangles = random.integers(0, VERTICES, (2 * VERTICES, 3))
    uv = random.uniform(0, 1, (VERTICES, 2)).astype(np.float32)
    first = frames[0]
    root.mesh(*first).write_bytes(format_mesh(Mesh(vertices, uv, triangles, triangles)))
    root.transform(*first).write_text(format_transform(np.eye(3, 4)))
    root.vertices_mean.write_bytes(vertices.tobytes())
    root.vertices_variance.write_text("9.0\n")
    root.texture_variance.write_text("900.0\n")
    blank = np.full((TEXTURE, TEXTURE, 3), 90, np.uint8)
    write_picture(root.texture_mean, blank)
    write_picture(root.texture(first[0], AVERAGE, first[1]), blank)
    write_picture(root.picture(first[0], names[0], first[1]), np.zeros((*PICTURE, 3), np.uint8))
    capture = MultifaceCapture(large_config(folder), CaptureInputs())
    about = {
        "content": capture._content,
        "signature": signature(capture.config, capture.survey),
        "identity": "large",
        "cameras": names,
        "frontal": 0,
        "skipped": {},
    }
    for split, held_out in (("train", False), ("held-out", True)):
        chosen = [frame for frame in frames if frame[0].startswith("EXP_ROM") == held_out]
        write_sparse(capture.folder / split, chosen, about)


def write_sparse(folder: Path, frames: list[tuple[str, int]], about: dict[str, object]) -> None:
    """A pack's files at full length, with nothing in them."""
    records = {
        "face": ({"vertices": (VERTICES, 3), "texture": (3, TEXTURE, TEXTURE)}, ()),
        "dome": ({"images": (CAMERAS, 3, *PICTURE), **camera(CAMERAS), "mask": (CAMERAS, *PICTURE)}, PICTURE),
        "headset": ({"images": (3, 1, *HEADSET), **camera(3), "mask": (3, *HEADSET)}, HEADSET),
    }
    kinds = {"face": "face", "dome": "views", "headset": "views"}
    layout = {
        f"{name}.{tensor}": (shape, "|u1" if tensor in ("images", "mask", "texture") else "<f4")
        for name, (tensors, _) in records.items()
        for tensor, shape in tensors.items()
    }
    folder.mkdir(parents=True)
    for name, (shape, dtype) in layout.items():
        with (folder / f"{name}.npy").open("wb") as file:
            header = {"descr": dtype, "fortran_order": False, "shape": (len(frames), *shape)}
            np.lib.format.write_array_header_1_0(file, header)
            file.truncate(file.tell() + len(frames) * int(np.prod(shape)) * np.dtype(dtype).itemsize)
    segments = list(dict.fromkeys(segment for segment, _ in frames))
    Store(folder, layout, len(frames), 1).finish(
        {
            "format": FORMAT,
            **about,
            "segments": segments,
            "segment": [segments.index(segment) for segment, _ in frames],
            "numbers": [number for _, number in frames],
            "records": {
                name: {"kind": kinds[name], "tensors": list(tensors), "size": list(size)}
                for name, (tensors, size) in records.items()
            },
        }
    )


def camera(count: int) -> dict[str, tuple[int, ...]]:
    return {"camera.intrinsics": (count, 3, 3), "camera.extrinsics": (count, 3, 4)}


def large_config(folder: Path) -> MultifaceConfig:
    return MultifaceConfig(path=folder / "subject", cache=folder / "packed")


def open_large(folder: Path) -> None:
    """Time opening the large subject, and what it adds to this process's memory."""
    before = resident()
    begin = time.perf_counter()
    capture = MultifaceCapture(large_config(folder), CaptureInputs())
    splits = [capture.split(name) for name in ("train", "held-out")]
    capture.template()
    seconds, memory = time.perf_counter() - begin, resident() - before
    size = sum(path.stat().st_size for path in capture.folder.rglob("*.npy"))
    print(f"{sum(map(len, splits))} frames at the paper's sizes, {size / 1e12:.1f} TB as sparse files:")
    print(f"  opened with its template in {seconds:.2f} s (aim: 1), memory grew by {memory:.0f} MB (aim: 200)")
    begin = time.perf_counter()
    splits[0].load(FrameRequest(np.array([5]), OBSERVATIONS, np.array([[3]])))
    print(f"  a frame with one camera loaded in {time.perf_counter() - begin:.2f} s")


def resident() -> float:
    """Megabytes of this process in memory; Linux only."""
    fields = Path("/proc/self/statm").read_text(encoding="ascii").split()
    return int(fields[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


if __name__ == "__main__":
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    main()
