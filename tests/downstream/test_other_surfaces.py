"""What is fitted need not be a face: a tube of a distribution outside plugins/, with names of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

import lipflow_core
from lipflow_core.avatar import Avatar
from lipflow_core.errors import CompatibilityError
from lipflow_core.fitting import FittingResult, fit
from lipflow_core.planning import plan
from lipflow_core.plans import CaptureInputs
from lipflow_core.records import Frame
from lipflow_core.registry import default_registry
from lipflow_core.scoring import build_metrics, score
from lipflow_core.splits import load_frames

TUBE = Path(__file__).parent / "tube"

REGISTRY = default_registry()
PRIORS = [part.name for part in REGISTRY.components("prior") if REGISTRY.distribution(part) == "lipflow-core"]

COMMANDS = """
from lipflow_core.cli import main
for command in (
    ["plugins", "list", "--json"],
    ["train", "tube.yaml", "training.stages.0.steps=2", "--out", "run", "--quiet"],
    ["fit", "run", "--out", "fits", "--frames", "held-out-001", "--json"],
    ["sample", "run", "--out", "samples", "--json"],
):
    print("=====", flush=True)
    code = main(command)
    assert code == 0, (command, code)
"""


@dataclass(frozen=True)
class Fitted:
    """A trained model and its fit to the held-out frames."""

    spec: lipflow_core.Spec
    avatar: Avatar
    frame: Frame
    result: FittingResult

    def scores(self, codes: torch.Tensor) -> dict[str, torch.Tensor]:
        """Each metric of the spec, (B,)."""
        return score(self.avatar.eval(), codes, self.frame, build_metrics(self.avatar, self.spec.evaluation.metrics))[0]


def train_and_fit(spec: lipflow_core.Spec, folder: Path, frames: int) -> Fitted:
    """Train a spec and fit the first held-out frames."""
    capture = spec.capture.build(CaptureInputs())
    avatar = lipflow_core.train(spec, folder, capture=capture).avatar
    blueprint = plan(spec)
    observations = (*blueprint.fitted_observations, *blueprint.scored_observations)
    frame = load_frames(capture.split("held-out"), np.arange(frames), observations)
    return Fitted(spec, avatar, frame, fit(avatar, frame, spec.fitting))


def make_spec(name: str, *overrides: str) -> lipflow_core.Spec:
    """A spec of the tube's distribution."""
    return lipflow_core.load_spec(TUBE / "specs" / f"{name}.yaml", ["device=cpu", "training.threads=1", *overrides])


@pytest.fixture(scope="module")
def by_probe(tmp_path_factory, downstream_registry) -> Fitted:
    """LiP-Flow, driven by and fitted to the probe's pictures."""
    return train_and_fit(make_spec("tube"), tmp_path_factory.mktemp("runs") / "run", frames=12)


@pytest.fixture(scope="module")
def by_markers(tmp_path_factory, downstream_registry) -> Fitted:
    """LiP-Flow, driven by and fitted to markers in one picture."""
    return train_and_fit(make_spec("tube-markers"), tmp_path_factory.mktemp("runs") / "run", frames=12)


@pytest.fixture(params=["by_probe", "by_markers"])
def fitted(request) -> Fitted:
    """Each of the two."""
    return request.getfixturevalue(request.param)


def test_fitted_tubes_are_nearer_to_the_truth_than_the_mean_tube(fitted):
    surface, mean = fitted.frame["surface"].vertices, fitted.avatar.template.vertices_mean
    distance = fitted.scores(fitted.result.codes)["millimetres"].mean()
    assert distance < (surface - mean).norm(dim=2).mean()


def test_every_metric_of_the_spec_scores_every_frame(fitted):
    scores = fitted.scores(fitted.result.codes)
    assert list(scores) == [part.name for part in fitted.spec.evaluation.metrics]
    assert all(values.shape == (12,) and values.isfinite().all() for values in scores.values())


def test_a_fit_to_pictures_improves_shape_and_picture_over_what_the_encoder_predicts(by_probe):
    predicted, ended = by_probe.scores(by_probe.result.starts), by_probe.scores(by_probe.result.codes)
    assert ended["millimetres"].mean() < predicted["millimetres"].mean()
    assert ended["psnr"].mean() > predicted["psnr"].mean()


def test_a_fit_to_markers_brings_them_nearer_than_the_encoder_predicts(by_markers):
    predicted, ended = by_markers.scores(by_markers.result.starts), by_markers.scores(by_markers.result.codes)
    assert ended["keypoint-error"].mean() < predicted["keypoint-error"].mean()


@pytest.mark.parametrize("name", PRIORS)
def test_every_shipped_prior_trains_and_lowers_the_loss_of_a_fit(name, tmp_path):
    spec = first_that_fits(name)
    result = train_and_fit(spec, tmp_path / "run", frames=4).result
    assert result.losses.mean() < result.curves["total"][:, 0].mean()


def first_that_fits(prior: str) -> lipflow_core.Spec:
    """The tube's spec with another prior, and whichever of the driving encoder and the flow it takes."""
    for unused in ((), ("flow=null",), ("flow=null", "driving=null")):
        quick = ("training.stages.0.steps=40", "training.evaluate_every=40", "fitting.steps=20", "capture.sequences=6")
        spec = make_spec("tube", f"prior={{type: {prior}}}", *unused, *quick)
        try:
            plan(spec)
        except CompatibilityError:
            continue
        return spec
    raise AssertionError(f"prior '{prior}' fits with no choice of driving encoder and flow")


@pytest.mark.parametrize(
    ("name", "overrides", "told"),
    [
        ("tube", ["driving=hmc"], r"'headset', which the capture does not have; it offers .*'probe'.*modality"),
        ("tube-markers", ["driving=keypoint"], r"'keypoints', which the capture does not have.*modality"),
        ("tube", ["evaluation.view=frontal"], r"'frontal', which capture 'tube' \(it offers .*'side'.* lacks"),
    ],
)
def test_names_of_a_face_are_refused_with_the_names_that_there_are(name, overrides, told):
    with pytest.raises(CompatibilityError, match=told):
        plan(make_spec(name, *overrides))


def test_installed_from_its_wheel_the_command_line_knows_it(tmp_path):
    build = f"from hatchling.build import build_wheel; print(build_wheel({str(tmp_path)!r}))"
    wheel = subprocess.run([sys.executable, "-c", build], cwd=TUBE, capture_output=True, text=True, check=True).stdout
    zipfile.ZipFile(tmp_path / wheel.split()[-1]).extractall(tmp_path / "site")
    (tmp_path / "tube.yaml").write_text((TUBE / "specs" / "tube.yaml").read_text())
    environment = {name: value for name, value in os.environ.items() if name != "LIPFLOW_CORE_REGISTRY"}
    search = os.pathsep.join([str(tmp_path / "site"), *filter(None, [environment.get("PYTHONPATH")])])
    ran = subprocess.run(
        [sys.executable, "-c", COMMANDS],
        cwd=tmp_path,
        env={**environment, "PYTHONPATH": search, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    _, listed, _, fits, _ = ran.stdout.split("=====\n")
    row = next(row for row in json.loads(listed)["components"] if row["name"] == "tube")
    assert (row["status"], row["distribution"], row["origin"]) == ("ok", "lipflow-tube", "entry point")
    assert [frame["segment"] for frame in json.loads(fits)["frames"]] == ["held-out-001"] * 4
    assert "lipflow-tube" in (tmp_path / "run" / "lock.json").read_text()
    assert (tmp_path / "samples" / "samples.png").exists()
