"""The report is one file that loads nothing, escapes everything, and shows what was evaluated."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
import zlib
from html.parser import HTMLParser

import numpy as np
import pytest
from lipflow_report import charts
from lipflow_report.images import common_limit, difference, heat
from lipflow_report.page import render, write_report
from PIL import Image
from safetensors.numpy import save_file

from lipflow_core.cli import main
from lipflow_core.errors import LipflowError, ResultError, StorageError
from lipflow_core.evaluation.folder import read_evaluation

pytest.importorskip("altair")
pytest.importorskip("vl_convert")


class Page(HTMLParser):
    """What a page refers to, its elements, the text outside of scripts, and the contents of its scripts."""

    def __init__(self, text):
        super().__init__()
        self.references, self.tags, self.text, self.scripts = [], [], "", []
        self.open = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        self.references += [v for k, v in attributes if k in ("src", "href", "srcset", "data", "action", "poster")]
        if tag not in ("img", "meta", "input", "br", "hr", "link"):
            self.open.append(tag)
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts[-1] += data
        else:
            self.text += data


@pytest.fixture(scope="module")
def text(evaluation_folder, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    return write_report(evaluation_folder, path).read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def page(text):
    return Page(text)


def test_the_page_refers_to_nothing_outside(page):
    assert page.references
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert not any(name in ("link", "iframe", "object", "embed", "base") for name, _ in page.tags)


def test_styles_load_nothing(text):
    styles = " ".join(re.findall(r"<style>(.*?)</style>", text, re.S) + re.findall(r'style="([^"]*)"', text))
    assert "url(" not in styles
    assert "@import" not in styles


def test_browsers_are_told_to_fetch_nothing(page):
    policy = next(a["content"] for name, a in page.tags if name == "meta" and "http-equiv" in a)
    assert "default-src 'none'" in policy
    assert "http" not in policy


def test_elements_are_closed(page):
    assert page.open == []


def test_text_from_outside_is_escaped(text, page):
    assert "<b>smile" not in text
    assert "EXP_<b>smile, frame 3" in page.text
    assert "name: <script>alert(1)</script>" in page.text
    assert not any("alert(1)" in script for script in page.scripts)


HOSTILE = "<script>alert(1)</script>'\"&"


def test_names_from_specs_captures_and_plugins_are_escaped(evaluation_folder, tmp_path):
    data = json.loads((evaluation_folder / "evaluation.json").read_text(encoding="utf-8"))
    shutil.copytree(evaluation_folder, tmp_path / "evaluation")
    data |= {"view": HOSTILE, "split": HOSTILE, "versions": {HOSTILE: HOSTILE}, "definitions": {HOSTILE: HOSTILE}}
    data["created"] = HOSTILE
    for number, model in enumerate(data["models"]):
        for name in ("system", "preset", "prior", "fitting_prior", "driving", "flow", "model", "identity"):
            model[name] = HOSTILE
        model["name"] = f"{HOSTILE}{number}"
        model["overrides"] = [HOSTILE]
        model["not_calibrated"] = HOSTILE
        model["provenance"] |= {"capture": HOSTILE, "capture_name": f"{HOSTILE}{number}", "device": HOSTILE}
        for column in model["metrics"].values():
            column |= {"heading": HOSTILE, "unit": HOSTILE, "definition": HOSTILE}
        model["frames"] = [[HOSTILE, 0], *model["frames"][1:]]
        model["failures"] = {"fitted": [{"segment": HOSTILE, "number": 0, "part": HOSTILE}]}
        pictures = tmp_path / "evaluation" / model["folder"] / "pictures"
        (pictures / "EXP_blink-000012.seen-headset.png").rename(pictures / "EXP_blink-000012.seen-'\"<b>.png")
        warned = {"kind": "warning", "step": 1, "text": HOSTILE}
        (tmp_path / "evaluation" / model["folder"] / "metrics.jsonl").write_text(json.dumps(warned), encoding="utf-8")
    (tmp_path / "evaluation" / "evaluation.json").write_text(json.dumps(data), encoding="utf-8")
    text = write_report(tmp_path / "evaluation", tmp_path / "r.html", title=HOSTILE).read_text(encoding="utf-8")
    page = Page(text)
    assert page.open == [] and page.text.count(HOSTILE) > 20
    assert "<script>alert" not in text and '"<b>' not in text
    assert all(reference.startswith(("data:", "#")) for reference in page.references)
    assert not any(attribute.startswith("on") for _, attributes in page.tags for attribute in attributes)


def test_the_table_has_the_best_in_bold_and_its_definitions(text, page):
    assert 'class="best">31.50<span class="error"> best</span></td>' in text
    assert '<td>30.50<span class="error"> ± 0.00</span></td>' in text
    assert "10 log10(1 / e), over pictures." in page.text


def test_columns_and_definitions_are_those_of_the_results(text, page):
    assert '<th scope="col">PSNR ↑</th><th scope="col">Error ↓</th><th scope="col">travelled</th>' in text
    for term, meaning in (
        ("PSNR, dB", "10 log10(1 / e), over pictures."),
        ("Error, px", "Mean of what is off."),
        ("Travelled", "Euclidean distance between"),
        ("Width", "Standard deviation of the prior"),
    ):
        assert f"<dt>{term}</dt><dd>{meaning}" in text
    assert "PSNR before fitting, dB" in "".join(page.scripts)


def test_a_metric_whose_lower_values_are_better_helps_below_the_diagonal(evaluation_folder, tmp_path):
    data = json.loads((evaluation_folder / "evaluation.json").read_text(encoding="utf-8"))
    for model in data["models"]:
        for kept in (model["metrics"], *model["scores"].values()):
            del kept["psnr"]
    (tmp_path / "evaluation.json").write_text(json.dumps(data), encoding="utf-8")
    text = write_report(tmp_path, tmp_path / "r.html").read_text(encoding="utf-8")
    assert "Each dot is a frame. Below the dashed line, fitting made it better." in text
    assert "Error before fitting, px" in text


def test_provenance_says_what_was_scored(page):
    assert "dam, preset tiny, seed 7" in page.text
    assert "prior flow (fitting: kl), driving encoder hmc" in page.text
    assert "fitting.steps=5" in page.text


def test_a_choice_at_the_edge_of_its_grid_is_told(page):
    assert "learning rate lies at the edge of its grid" in page.text


def test_rows_that_were_not_finite_are_told(page):
    assert "1 frame stopped early because the loss was not finite" in page.text


def test_every_frame_shows_target_seen_codes_and_differences(page):
    alts = [attributes["alt"] for name, attributes in page.tags if name == "img"]
    for alt in ("headset", "Q's code", "before", "difference after"):
        assert alts.count(alt) in (2, 4)
    assert all(a["src"].startswith("data:image/png;base64,") for name, a in page.tags if name == "img")


def test_charts_are_in_the_page(page):
    specs = [json.loads(script) for script in page.scripts if script.startswith("{")]
    assert len(specs) == 4
    assert all(spec["$schema"] for spec in specs)
    assert any("window.vegaEmbed" in script for script in page.scripts)


@pytest.mark.parametrize("chart", [charts.calibration_chart, charts.frames_chart])
def test_more_models_than_colours_can_tell_apart_have_a_panel_each(chart, evaluation_of_many):
    panels = chart(evaluation_of_many)["concat"]
    assert [panel["layer"][-1]["title"] for panel in panels] == [f"dam-{i}" for i in range(9)]


def test_a_heading_counts_many_models(evaluation_of_many, tmp_path):
    assert "<h1>Evaluation: 9 models on dome-1</h1>" in render(evaluation_of_many, tmp_path)


def test_a_model_can_be_picked_in_the_legend_of_curves(page):
    specs = [json.loads(script) for script in page.scripts if script.startswith("{")]
    picked = [spec["params"] for spec in specs if "params" in spec]
    assert [params[0]["bind"] for params in picked] == ["legend", "legend"]


def test_of_many_models_only_the_first_frame_is_unfolded(evaluation_folder):
    evaluation = read_evaluation(evaluation_folder)
    text = render(evaluation, evaluation_folder)
    assert text.count('<details class="frame"') == text.count('<details class="frame" open>') == 2
    text = render(evaluation.model_copy(update={"models": evaluation.models * 3}), evaluation_folder)
    assert text.count('<details class="frame"') == 2 and text.count('<details class="frame" open>') == 1


def test_what_training_warned_of_is_told(evaluation_folder, tmp_path):
    folder = tmp_path / "evaluation"
    shutil.copytree(evaluation_folder, folder)
    with (folder / "dam" / "metrics.jsonl").open("a", encoding="utf-8") as metrics:
        metrics.write("\n" + json.dumps({"kind": "warning", "step": 3, "text": "the term 'latent' reached 1e9"}) + "\n")
    said = Page(write_report(folder, tmp_path / "report.html").read_text(encoding="utf-8")).text
    assert "dam, training, by step 3: the term 'latent' reached 1e9." in said


def test_calibration_has_its_table_its_chart_and_a_reason_where_there_is_none(text, page):
    assert "<td>dam</td><td>1.25</td><td>1.25</td><td>0.56</td><td>0.50</td>" in text
    assert "lip-flow: Q is P." in page.text
    reliability = next(spec for spec in page.scripts if '"nominal level"' in spec)
    panels = json.loads(reliability)["concat"]
    assert [panel["layer"][-1]["title"] for panel in panels] == [
        "Central intervals in each dimension",
        "Highest-density regions of the whole code",
    ]


def test_one_model_is_not_called_the_best(evaluation_folder, tmp_path):
    data = json.loads((evaluation_folder / "evaluation.json").read_text(encoding="utf-8"))
    data["models"] = data["models"][:1]
    (tmp_path / "evaluation.json").write_text(json.dumps(data), encoding="utf-8")
    text = write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8")
    assert 'class="best"' not in text


def test_an_evaluation_without_pictures_or_curves_still_reports(evaluation_folder, tmp_path):
    (tmp_path / "evaluation.json").write_bytes((evaluation_folder / "evaluation.json").read_bytes())
    page = Page(write_report(tmp_path, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert "Scores" in page.text
    assert not any(name == "img" for name, _ in page.tags)


@pytest.mark.parametrize("every", [False, True])
def test_rows_that_were_never_finite_are_left_out_of_the_curves_and_told(every, evaluation_folder, tmp_path):
    folder = tmp_path / "evaluation"
    shutil.copytree(evaluation_folder, folder)
    curve = np.geomspace(1.0, 0.1, 6)[None].repeat(3, axis=0).astype(np.float32)
    curve[(0, 1, 2) if every else 1, :] = np.nan
    save_file({"fitted.curves.total": curve}, folder / "dam" / "fits.safetensors")
    page = Page(write_report(folder, tmp_path / "report.html").read_text(encoding="utf-8"))
    assert f"the loss of {'3 frames' if every else '1 frame'} was never finite" in page.text
    fitting = next(script for script in page.scripts if '"objective":"total"' in script)
    assert ('"model":"dam"' in fitting) != every


def test_a_loss_that_is_not_finite_is_left_out_of_the_training_curves(evaluation_folder, tmp_path):
    folder = tmp_path / "evaluation"
    shutil.copytree(evaluation_folder, folder)
    with open(folder / "dam" / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('\n{"kind": "train", "step": 7, "loss": NaN, "photometric": Infinity}\n')
    text = write_report(folder, tmp_path / "report.html").read_text(encoding="utf-8")
    assert '"step":7' not in text


@pytest.mark.parametrize("folder", ["../elsewhere", "..", "/etc", ""])
def test_a_models_folder_elsewhere_is_refused(folder, evaluation_folder, tmp_path):
    data = json.loads((evaluation_folder / "evaluation.json").read_text(encoding="utf-8"))
    data["models"][0]["folder"] = folder
    (tmp_path / "evaluation.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(LipflowError, match="not the name of a model's folder"):
        write_report(tmp_path, tmp_path / "report.html")


@pytest.mark.parametrize("package", ["altair", "vl_convert", "jinja2"])
def test_a_missing_package_is_told_with_its_cure(package, evaluation_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(LipflowError, match=rf"need {package}, .*\n.*pip install '\.\[report\]'"):
        write_report(evaluation_folder, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_the_command_writes_the_file_and_names_it(evaluation_folder, tmp_path, capsys):
    out = tmp_path / "r.html"
    assert main(["report", str(evaluation_folder), "--out", str(out), "--title", "A & B"]) == 0
    assert str(out) in capsys.readouterr().out
    assert "<title>A &amp; B</title>" in out.read_text(encoding="utf-8")


def test_a_folder_that_is_no_evaluation_is_refused(tmp_path, capsys):
    assert main(["report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 2
    assert "holds no evaluation" in capsys.readouterr().err
    assert not (tmp_path / "r.html").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="limits on file sizes are POSIX")
def test_a_disk_that_fills_up_leaves_the_report_before(evaluation_folder, tmp_path, capsys):
    import resource

    out = tmp_path / "r.html"
    out.write_text("old", encoding="utf-8")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        assert main(["report", str(evaluation_folder), "--out", str(out)]) == StorageError.exit_code
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert "can't be written" in capsys.readouterr().err
    assert out.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [out]


@pytest.mark.parametrize("out", ["none/r.html", "file/r.html", "folder"])
def test_a_place_that_cannot_be_written_is_told(out, evaluation_folder, tmp_path, capsys):
    (tmp_path / "file").write_text("mine", encoding="utf-8")
    (tmp_path / "folder").mkdir()
    assert main(["report", str(evaluation_folder), "--out", str(tmp_path / out)]) == StorageError.exit_code
    assert str(tmp_path / out.partition("/")[0]) in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.skipif(sys.platform == "win32" or os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_may_not_be_written_is_told(evaluation_folder, tmp_path, capsys):
    tmp_path.chmod(0o500)
    try:
        assert main(["report", str(evaluation_folder), "--out", str(tmp_path / "r.html")]) == StorageError.exit_code
    finally:
        tmp_path.chmod(0o700)
    assert "is not yours to write to" in capsys.readouterr().err


@pytest.mark.parametrize("damage", ["cut", "text", "another size", "huge"])
def test_a_damaged_picture_is_named(damage, evaluation_folder, tmp_path):
    folder = tmp_path / "evaluation"
    shutil.copytree(evaluation_folder, folder)
    picture = folder / "dam" / "pictures" / "EXP_blink-000012.fitted.png"
    content = picture.read_bytes()
    match damage:
        case "cut":
            picture.write_bytes(content[:100])
        case "text":
            picture.write_bytes(b"a picture")
        case "another size":
            Image.new("RGB", (8, 8)).save(picture)
        case "huge":
            head = b"IHDR" + (1 << 16).to_bytes(4, "big") * 2 + content[24:29]
            picture.write_bytes(content[:12] + head + zlib.crc32(head).to_bytes(4, "big") + content[33:])
    with pytest.raises(ResultError, match=r"EXP_blink-000012\.fitted\.png: "):
        write_report(folder, tmp_path / "report.html")


def test_curves_that_cannot_be_read_are_left_out(evaluation_folder, tmp_path):
    folder = tmp_path / "evaluation"
    shutil.copytree(evaluation_folder, folder)
    (folder / "dam" / "fits.safetensors").write_bytes(b"cut")
    save_file({"fitted.curves.total": np.zeros(3, np.float32)}, folder / "lip-flow" / "fits.safetensors")
    (folder / "dam" / "metrics.jsonl").write_text("[" * 100_000 + "\n3\n", encoding="utf-8")
    assert "Curves" in Page(write_report(folder, tmp_path / "report.html").read_text(encoding="utf-8")).text


def test_differences_are_masked_and_scaled_together():
    target, picture = np.zeros((2, 2, 3), np.float32), np.full((2, 2, 3), 0.08, np.float32)
    mask = np.ones((2, 2, 3), np.float32)
    mask[0, 0] = 0
    error = difference(picture, target, mask)
    assert np.isnan(error[0, 0])
    np.testing.assert_allclose(error[1], 0.08, rtol=1e-6)
    assert common_limit([error]) == 0.1
    colours = heat(error, 0.1)
    assert colours[0, 0, 3] == 0
    assert (colours[1, :, 3] == 255).all()
