"""Progress: a bar on a terminal, plain lines elsewhere."""

import io
import re
import time

import pytest

from lipflow_core.progress import hushed, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_lines_say_how_much_how_fast_and_what():
    stream = io.StringIO()
    with progress(3, "fit", "frame", stream=stream, every=0) as shown:
        for loss in (3.0, 2.0, 1.0):
            shown.advance(1, loss=loss)
        shown.note("a note")
    lines = stream.getvalue().splitlines()
    assert lines[0].startswith("fit: 1/3 frames") and lines[0].endswith("loss 3")
    assert lines[1].startswith("fit: 2/3 frames") and "to go" in lines[1] and lines[1].endswith("loss 2")
    assert lines[2].startswith("fit: 3/3 frames") and "to go" not in lines[2]
    assert lines[3] == "a note"
    assert len(lines) == 4


def test_lines_are_rare():
    stream = io.StringIO()
    with progress(1000, "fit", "frame", stream=stream) as shown:
        for _ in range(1000):
            shown.advance()
    assert len(stream.getvalue().splitlines()) == 1


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    with progress(2, "fit", "frame", stream=stream) as shown:
        shown.advance(2, loss=0.5)
        shown.note("a note")
    assert "2/2" in stream.getvalue() and "loss 0.5" in stream.getvalue() and "a note\n" in stream.getvalue()


@pytest.mark.parametrize("style", ["bar", "lines", "none"])
def test_work_taken_up_again_counts_from_there(style):
    stream = io.StringIO()
    with progress(10, "train", "step", style=style, stream=stream) as shown:
        shown.resume_at(8)
        shown.advance(2)
    assert shown.done == 10
    assert style == "none" or "10/10" in stream.getvalue()


def test_a_total_may_be_unknown():
    stream = io.StringIO()
    with progress(None, "simulate", stream=stream) as shown:
        shown.advance(5)
    assert stream.getvalue().startswith("simulate: 5 ")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_nothing_is_shown_of_what_is_soon_done(stream):
    with progress(3, "simulate", "chunk", stream=stream, patience=30) as shown:
        shown.advance(3)
    assert stream.getvalue().strip() == ""


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_within_what_is_hidden_all_is(stream):
    with progress(3, "train", style="none"), progress(3, "simulate", stream=stream) as shown:
        shown.advance(3)
    assert shown.done == 3
    assert stream.getvalue() == ""
    with progress(3, "simulate", stream=stream) as shown:
        shown.advance(3)
    assert "3/3" in stream.getvalue()


@pytest.mark.parametrize("style", ["bar", "lines"])
@pytest.mark.parametrize("held", [True, False])
def test_nothing_is_left_of_what_is_refused_before_it_began(style, held):
    stream = io.StringIO()
    with pytest.raises(ValueError), progress(8, "train", "step", style=style, stream=stream, held=held):
        raise ValueError
    assert stream.getvalue().split("\r")[-1].strip() == ""
    assert not held or stream.getvalue() == ""


@pytest.mark.parametrize("style", ["bar", "lines"])
def test_what_comes_first_does_not_enter_the_rate(style):
    stream = io.StringIO()
    with progress(1000, "train", "step", style=style, stream=stream, every=0) as shown:
        time.sleep(0.5)
        shown.advance()
        for _ in range(100):
            time.sleep(0.001)
            shown.advance()
    assert float(re.findall(r"([0-9.]+) ?steps?/s", stream.getvalue())[-1]) > 250
    assert "s/step" not in stream.getvalue()


def test_fields_can_be_forgotten():
    stream = io.StringIO()
    with progress(2, "train", "step", stream=stream) as shown:
        shown.advance(1, image=1.0)
        shown.forget()
        shown.advance(1, latent=2.0)
    assert "latent 2" in stream.getvalue() and "image" not in stream.getvalue()


@pytest.mark.parametrize("columns", [60, 100, 170])
def test_a_narrow_terminal_gets_the_figures_alone(columns, monkeypatch):
    monkeypatch.setattr("tqdm.std._screen_shape_wrapper", lambda: lambda file: (columns, 24))
    stream = Terminal()
    with progress(8000, "train my-avatar", "step", stream=stream) as shown:
        shown.advance(
            1, **{"stage": "all", "loss": 0.12345, "held-out": 0.12345, "image": 0.01234, "geometry": 0.01234}
        )
    last = stream.getvalue().split("\r")[-1].rstrip("\n")
    assert len(last) <= columns
    assert ("|" in last) == (columns >= 160)
    assert columns == 60 or "held-out 0.1235" in last


@pytest.mark.parametrize(("style", "shown"), [("none", False), ("auto", True)])
def test_a_style_of_none_hushes_others(style, shown):
    stream = io.StringIO()
    with hushed(style), progress(3, "simulate", stream=stream) as bar:
        bar.advance(3)
    assert bool(stream.getvalue()) is shown
