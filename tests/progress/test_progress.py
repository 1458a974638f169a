"""Progress: a line that is redrawn on a terminal, plain lines elsewhere."""

import io

import pytest

from lipflow_core.progress import hushed, progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    """A clock that a test sets."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock():
    return Clock()


def test_lines_say_how_much_and_what(clock):
    stream = io.StringIO()
    with progress(3, "fit", "frame", stream=stream, every=0, clock=clock) as shown:
        for loss in (3.0, 2.0, 1.0):
            clock.now += 4
            shown.advance(1, loss=loss)
        shown.note("a note")
    assert stream.getvalue().splitlines() == [
        "fit: 1/3 frames  0:04  loss 3",
        "fit: 2/3 frames  4 s/frame  0:08 gone, 0:04 to go  loss 2",
        "fit: 3/3 frames  4 s/frame  0:12  loss 1",
        "a note",
    ]


def test_lines_are_rare(clock):
    stream = io.StringIO()
    with progress(1000, "fit", "frame", stream=stream, every=10, clock=clock) as shown:
        for _ in range(1000):
            clock.now += 1 / 32
            shown.advance()
    counts = [line.split()[1] for line in stream.getvalue().splitlines()]
    assert counts == ["64/1000", "384/1000", "704/1000", "1000/1000"]


def test_fields_are_asked_for_when_they_will_be_seen(clock):
    with progress(9, "fit", stream=io.StringIO(), every=10, clock=clock) as shown:
        assert not shown.due
        clock.now = 2
        assert shown.due
        shown.advance()
        assert not shown.due


def test_a_terminal_gets_a_line_that_is_redrawn():
    stream = Terminal()
    with progress(2, "fit", "frame", stream=stream) as shown:
        shown.advance(2, loss=0.5)
    assert stream.getvalue().startswith("\rfit: 0/2 frames")
    assert "\rfit: 2/2 frames" in stream.getvalue() and "loss 0.5\n" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_a_note_stands_above_the_bar():
    stream = Terminal()
    with progress(2, "fit", "frame", stream=stream) as shown:
        shown.note("a note")
    before, after = stream.getvalue().split("a note\n")
    assert before.split("\r")[-2].strip() == "" and after.startswith("\rfit: 0/2 frames")


@pytest.mark.parametrize("style", ["bar", "lines", "none"])
def test_work_taken_up_again_counts_from_there(style):
    stream = io.StringIO()
    with progress(10, "train", "step", style=style, stream=stream) as shown:
        shown.resume_at(8)
        shown.advance(2)
    assert shown.done == 10
    assert style == "none" or "10/10" in stream.getvalue()


def test_steps_done_before_do_not_enter_the_estimate(clock):
    stream = io.StringIO()
    with progress(100, "train", "step", stream=stream, every=0, held=True, clock=clock) as shown:
        shown.resume_at(90)
        for _ in range(5):
            clock.now += 2
            shown.advance()
    assert stream.getvalue().splitlines()[-1].endswith("0:10 gone, 0:10 to go")


def test_the_first_unit_does_not_enter_the_estimate(clock):
    stream = io.StringIO()
    with progress(100, "train", "step", stream=stream, every=0, clock=clock) as shown:
        clock.now = 60
        shown.advance()
        for _ in range(9):
            clock.now += 1
            shown.advance()
    assert stream.getvalue().splitlines()[-1].endswith("1:09 gone, 1:30 to go")


def test_a_total_may_be_unknown():
    stream = io.StringIO()
    with progress(None, "simulate", stream=stream) as shown:
        shown.advance(5)
    assert stream.getvalue().startswith("simulate: 5 ")


@pytest.mark.parametrize("stream", [io.StringIO(), Terminal()])
def test_nothing_is_shown_of_what_is_soon_done(stream, clock):
    with progress(3, "simulate", "chunk", stream=stream, patience=30, clock=clock) as shown:
        clock.now = 29
        shown.advance(3)
    assert stream.getvalue() == ""


def test_a_bar_that_waited_disappears_at_the_end(clock):
    stream = Terminal()
    with progress(3, "simulate", "chunk", stream=stream, patience=30, clock=clock) as shown:
        clock.now = 31
        shown.advance(3)
    assert "3/3" in stream.getvalue()
    assert stream.getvalue().split("\r")[-2].strip() == "" and "\n" not in stream.getvalue()


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


def test_fields_can_be_forgotten():
    stream = io.StringIO()
    with progress(2, "train", "step", stream=stream) as shown:
        shown.advance(1, image=1.0)
        shown.forget()
        shown.advance(1, latent=2.0)
    assert "latent 2" in stream.getvalue() and "image" not in stream.getvalue()


@pytest.mark.parametrize("columns", [60, 100, 170])
def test_a_narrow_terminal_gets_the_figures_alone(columns, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    with progress(8000, "train my-avatar", "step", stream=stream) as shown:
        shown.advance(1, **{"stage": "all", "loss": 0.12345, "held-out": 0.12345, "image": 0.01234, "mesh": 0.01234})
    last = stream.getvalue().split("\r")[-1].rstrip("\n")
    assert len(last) < columns
    assert ("[   " in last) == (columns >= 160)
    assert columns == 60 or "held-out 0.1235" in last


def test_what_is_shown_does_not_steer_the_terminal():
    stream = io.StringIO()
    with progress(1, "train \x1b[31mred\rname", stream=stream) as shown:
        shown.note("a \x9bnote")
        shown.advance(1)
    assert stream.getvalue().startswith("a \\x9bnote\ntrain \\x1b[31mred\\rname: 1/1")


@pytest.mark.parametrize(("style", "shown"), [("none", False), ("auto", True)])
def test_a_style_of_none_hushes_others(style, shown):
    stream = io.StringIO()
    with hushed(style), progress(3, "simulate", stream=stream) as bar:
        bar.advance(3)
    assert bool(stream.getvalue()) is shown
