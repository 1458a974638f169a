"""Time of fitting 16 frames together against fitting the same frames one after another, or of the parts of one step.

    python benchmarks/fitting.py
    python benchmarks/fitting.py --model runs/lip-flow-hmc --steps 50
    python benchmarks/fitting.py --parts --threads 1
    python benchmarks/fitting.py --parts --threads 1 --preset paper --frames 2 capture.sequences=2 \\
        capture.held_out_sequences=1 capture.frames_per_sequence=2 capture.cameras=2 capture.image=[96,96]

With --parts, each part's processor time is told in milliseconds a frame and step, forward and backward. A step is also
made with textures decoded whole, if fits of this size decode only what pictures show.

Without --parts, both are done in one process, with patience off so that every frame takes all steps. Without --model, a
model of the spec is assembled and not trained; the work is the same. Frames come from the spec's capture, which is
simulated on first use. The two take turns; the figures are each one's best of all turns, since other work on the
machine only adds.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

import lipflow_core
from lipflow_core.avatar import Avatar, frozen
from lipflow_core.fitting import fit
from lipflow_core.fitting.fit import build_objectives
from lipflow_core.fitting.problem import Problem
from lipflow_core.planning import plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import FaceState, Frame
from lipflow_core.selection import spread
from lipflow_core.specs import Spec
from lipflow_core.splits import load_frames


def main() -> None:
    """Print both times and their ratio, or the times of a step's parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--spec", default="lip-flow-hmc")
    parser.add_argument("--preset", default="small")
    parser.add_argument("--model", help="model directory to use instead of an untrained model of --spec")
    parser.add_argument("--frames", type=int, default=16)
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--turns", type=int, default=1)
    parser.add_argument("--threads", type=int, default=0, help="torch's threads; 0 leaves its choice")
    parser.add_argument("--parts", action="store_true", help="time the parts of one step")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("overrides", nargs="*", help="options of the spec, such as capture.cameras=2")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    overrides = [f"fitting.steps={args.steps}", f"fitting.patience={args.steps + 1}", f"fitting.batch={args.frames}"]
    avatar, spec = model(args, [*overrides, *args.overrides])
    frame = frames(spec, args.frames)
    if args.parts:
        times = parts(avatar, spec, frame, max(args.turns, 5))
        print(json.dumps(times) if args.json else "\n".join(f"{name:32}{ms:9.2f} ms" for name, ms in times.items()))
        return
    alone = [frame.rows(torch.tensor([i])) for i in range(len(frame))]
    together, apart = [], []
    fit(avatar, alone[0], spec.fitting.model_copy(update={"steps": 3}))  # compiles what is compiled
    for _ in range(args.turns):
        together.append(seconds(lambda: fit(avatar, frame, spec.fitting)))
        apart.append(seconds(lambda: [fit(avatar, single, spec.fitting) for single in alone]))
    wall, cpu = (min(pair[i] for pair in together) for i in (0, 1))
    wall_apart, cpu_apart = (min(pair[i] for pair in apart) for i in (0, 1))
    result = {
        "frames": len(frame),
        "steps": args.steps,
        "threads": torch.get_num_threads(),
        "together_s": round(wall, 3),
        "one_after_another_s": round(wall_apart, 3),
        "ratio": round(wall_apart / wall, 2),
        "together_cpu_s": round(cpu, 3),
        "one_after_another_cpu_s": round(cpu_apart, 3),
        "cpu_ratio": round(cpu_apart / cpu, 2),
    }
    if args.json:
        print(json.dumps(result))
        return
    scale = 1000 / (len(frame) * args.steps)
    print(f"{spec.name}, preset {spec.preset}: {len(frame)} frames, {args.steps} steps, {result['threads']} threads")
    print(f"together           {wall:7.2f} s, {cpu:7.2f} s of CPU, {cpu * scale:6.2f} ms of CPU a frame and step")
    print(f"one after another  {wall_apart:7.2f} s, {cpu_apart:7.2f} s of CPU, {cpu_apart * scale:6.2f} ms")
    print(f"ratio              {result['ratio']:7.2f}    {result['cpu_ratio']:7.2f}")


def model(args: argparse.Namespace, overrides: list[str]) -> tuple[Avatar, Spec]:
    """The model directory's, or a new one whose flow is initialised as before training."""
    if args.model:
        return lipflow_core.open_model(args.model, overrides=overrides)
    spec = lipflow_core.load_spec(args.spec, [f"preset={args.preset}", *overrides])
    avatar = lipflow_core.assemble(spec).eval()
    generator = torch.Generator().manual_seed(0)
    if not avatar.fitting_prior.initialized:
        source = spec.capture.build(CaptureInputs()).split("train")
        frame = load_frames(source, spread(256, len(source)), [avatar.driving.modality])
        with torch.no_grad():
            codes = torch.randn(len(frame), spec.code, generator=generator)
            avatar.fitting_prior.initialize(codes, avatar.drive(frame))
    return avatar, spec


def frames(spec: Spec, count: int) -> Frame:
    """Held-out frames with what fitting needs."""
    source = spec.capture.build(CaptureInputs()).split("held-out")
    return load_frames(source, spread(count, len(source)), plan(spec).fitted_observations)


def parts(avatar: Avatar, spec: Spec, frame: Frame, turns: int) -> dict[str, float]:
    """Milliseconds of CPU a frame and step, the least of some turns, of a step and of its parts."""
    objectives = build_objectives(avatar, frame, spec.fitting.objectives)
    with frozen(avatar):
        problem = Problem.of(avatar, frame, objectives)
        camera, topology = next(iter(problem.cameras.values())), problem.template.topology
        code = problem.start("prior").requires_grad_()
        face = problem.template.restore(avatar.decoder(code, problem.directions))
        vertices, texture = (tensor.detach().requires_grad_() for tensor in (face.vertices, face.texture))
        works = {
            "step": lambda: (problem.losses(code), code),
            "drawing": lambda: (avatar.render(FaceState(vertices, texture), camera).image, vertices, texture),
            "decoding the mesh": lambda: (avatar.decoder.geometry(code), code),
            "decoding the whole textures": lambda: (avatar.decoder(code, problem.directions).texture, code),
            "prior": lambda: (problem.prior.log_prob(code), code),
        }
        if (sight := problem.sight) is not None:
            seen = sight.seen(avatar, vertices, topology, camera)
            given = avatar, problem.template, code, problem.directions, seen
            works |= {
                "decoding the texels seen": lambda: (sight.texture(*given), code),
                "finding the texels seen": lambda: (sight.seen(avatar, vertices, topology, camera),),
                "step, textures whole": lambda: (replace(problem, sight=None).losses(code), code),
            }
        least = dict.fromkeys(works, float("inf"))
        for _ in range(turns + 1):
            for name, work in works.items():
                least[name] = min(least[name], seconds(lambda work=work: backward(*work()))[1])
    return {name: round(1000 * best / len(frame), 2) for name, best in least.items()}


def backward(made: Tensor, *inputs: Tensor) -> None:
    """Carry gradients of ones back to the inputs, if there are any."""
    if inputs:
        torch.autograd.grad(made, inputs, torch.ones_like(made))


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock and CPU time of some work; the second tells more on a machine that others use too."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


if __name__ == "__main__":
    main()
