"""An evaluation as its folder, made without a model, so that reports are quick to try."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from lipflow_core.evaluation.calibration import Calibration
from lipflow_core.evaluation.folder import write_evaluation
from lipflow_core.evaluation.result import Column, Evaluation, ModelScores
from lipflow_core.fitting.result import GridChoice
from lipflow_core.selection import file_stem

FRAMES = [("EXP_<b>smile", 3), ("EXP_blink", 12)]
STEMS = [file_stem(*frame) for frame in FRAMES]
METRICS = {
    "psnr": Column(heading="PSNR", unit="dB", higher_is_better=True, definition="10 log10(1 / e), over pictures."),
    "error": Column(heading="Error", unit="px", digits=3, higher_is_better=False, definition="Mean of what is off."),
}


def model(folder, name, level):
    """Scores and files of one model."""
    random = np.random.default_rng(0)
    place = folder / name
    (place / "pictures").mkdir(parents=True)
    for stem in STEMS:
        for kind in ("target", "posterior", "start", "fitted", "mask", "seen-headset"):
            pixels = random.integers(0, 255, (24, 72 if "seen" in kind else 24, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / "pictures" / f"{stem}.{kind}.png")
    curve = np.geomspace(1.0, 0.1, 6)[None].repeat(2, axis=0).astype(np.float32)
    curve[1, 4:] = np.nan
    save_file({"fitted.curves.photometric": curve, "fitted.curves.total": curve}, place / "fits.safetensors")
    train = {"kind": "train", "stage": "all", "photometric": 0.5, "weight_photometric": 1.0, "learning_rate": 0.1}
    rows = [{**train, "step": i, "loss": 1 / (i + 1)} for i in range(5)]
    rows.append({"kind": "held-out", "stage": "all", "step": 4, "loss": None, "photometric": 0.4, "best": True})
    (place / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)) + '\n{"cut', encoding="utf-8")
    (place / "spec.yaml").write_text("name: <script>alert(1)</script>\n", encoding="utf-8")
    columns = {"psnr": [level, level + 1], "error": [0.1, float("nan")]}
    grid = GridChoice(
        learning_rate=0.5, latent_weight=0.01, metric="PSNR", unit="dB", score=30.0, points=(),
        at_edge=("learning_rate",), frames=2,
    )  # fmt: skip
    levels = [i / 20 for i in range(1, 20)]
    calibration = Calibration(
        nll={"q_mean": [1.0, 1.5], "q_samples": [1.25, float("nan")]}, levels=levels, width=0.4, spread=2.0,
        coverage={"dimension": levels, "joint": [level**2 for level in levels]}, draws=199, samples=16,
    )  # fmt: skip
    return ModelScores(
        name=name, system=name, preset="tiny", seed=7, prior="flow", fitting_prior="kl", driving="hmc",
        overrides=["fitting.steps=5"], model=f"/models/{name}", identity="abc", folder=name, metrics=METRICS,
        frames=FRAMES, scores={code: columns for code in ("posterior", "start", "fitted")},
        distance={"fitted": [1.0, 2.0]}, steps={"fitted": [5, 3]}, nonfinite={"fitted": 1}, grid={"fitted": grid},
        calibration=calibration if name == "dam" else None, not_calibrated=None if name == "dam" else "Q is P",
        seconds=1.0, provenance={"capture": "dome-1", "device": "cpu", "threads": 1, "parameters": 12345},
    )  # fmt: skip


def evaluation_of(models):
    versions = {"lipflow-core": "0.1.0"}
    created = "2026-11-23T01:00:00+00:00"
    return Evaluation(models=models, split="held-out", view="frontal", created=created, versions=versions)


@pytest.fixture(scope="session")
def evaluation_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    write_evaluation(folder, evaluation_of((model(folder, "dam", 30.0), model(folder, "lip-flow", 31.0))))
    return folder


@pytest.fixture(scope="session")
def evaluation_of_many(tmp_path_factory):
    """Of nine models, all with a calibration."""
    folder = tmp_path_factory.mktemp("evaluation")
    dam = model(folder, "dam", 30.0)
    return evaluation_of(tuple(dam.model_copy(update={"name": f"dam-{i}"}) for i in range(9)))
