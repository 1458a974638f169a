"""The report is one file that loads nothing, escapes everything, and shows what was evaluated."""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from dataclasses import replace
from html.parser import HTMLParser

import numpy as np
import pytest
from lipflow_report import charts, write_report
from lipflow_report.markup import Markup, tag
from lipflow_report.page import render
from lipflow_report.pictures import common_limit, difference, heat
from safetensors.numpy import save_file

from lipflow_core.cli import main
from lipflow_core.errors import LipflowError, StorageError
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


def test_the_table_has_the_best_in_bold_and_its_definitions(text, page):
    assert 'class="best">31.50<span class="error"> best</span></td>' in text
    assert '<td>30.50<span class="error"> ± 0.00</span></td>' in text
    assert "averaged over pictures" in page.text


def test_a_choice_at_the_edge_of_its_grid_is_told(page):
    assert "learning rate lies at the edge of its grid" in page.text


def test_rows_that_were_not_finite_are_told(page):
    assert "1 frame stopped early because their loss was not finite" in page.text


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
    assert "<h1>Fitted faces: 9 models on dome-1</h1>" in render(evaluation_of_many, tmp_path)


def test_a_model_can_be_picked_in_the_legend_of_curves(page):
    specs = [json.loads(script) for script in page.scripts if script.startswith("{")]
    picked = [spec["params"] for spec in specs if "params" in spec]
    assert [params[0]["bind"] for params in picked] == ["legend", "legend"]


def test_of_many_models_only_the_first_frame_is_unfolded(evaluation_folder):
    evaluation = read_evaluation(evaluation_folder)
    text = render(evaluation, evaluation_folder)
    assert text.count('<details class="frame"') == text.count('<details class="frame" open>') == 2
    text = render(replace(evaluation, models=evaluation.models * 3), evaluation_folder)
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
    assert f"the loss of {3 if every else 1} frames was never finite" in page.text
    fitting = next(script for script in page.scripts if '"objective":"total"' in script)
    assert ('"model":"dam"' in fitting) != every


def test_a_loss_that_is_not_finite_is_left_out_of_the_training_curves(evaluation_folder, tmp_path):
    folder = tmp_path / "evaluation"
    shutil.copytree(evaluation_folder, folder)
    with open(folder / "dam" / "metrics.jsonl", "a", encoding="utf-8") as file:
        file.write('\n{"kind": "train", "step": 7, "loss": NaN, "image": Infinity}\n')
    text = write_report(folder, tmp_path / "report.html").read_text(encoding="utf-8")
    assert '"step":7' not in text


@pytest.mark.parametrize("folder", ["../elsewhere", "..", "/etc", ""])
def test_a_models_folder_elsewhere_is_refused(folder, evaluation_folder, tmp_path):
    data = json.loads((evaluation_folder / "evaluation.json").read_text(encoding="utf-8"))
    data["models"][0]["folder"] = folder
    (tmp_path / "evaluation.json").write_text(json.dumps(data), encoding="utf-8")
    with pytest.raises(LipflowError, match="not the name of a model's folder"):
        write_report(tmp_path, tmp_path / "report.html")


def test_a_missing_altair_is_told_with_its_cure(evaluation_folder, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "altair", None)
    with pytest.raises(LipflowError, match=r"pip install 'lipflow-core\[report\]'"):
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


def test_markup_escapes_text_and_keeps_markup():
    assert tag("p", "a < b", Markup("<i>c</i>"), title='"q"') == '<p title="&quot;q&quot;">a &lt; b<i>c</i></p>'


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
