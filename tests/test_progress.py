"""Progress: lines now and then where there is no terminal, a bar where there is one."""

from __future__ import annotations

import io
import sys
from types import SimpleNamespace

import pytest

from utils.progress import Progress, progress


class Clock:
    """A clock that the test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr("utils.progress.time", SimpleNamespace(monotonic=clock.monotonic))
    return clock


class Terminal(io.StringIO):
    """A terminal that keeps what was written to it."""

    def isatty(self) -> bool:
        return True


def test_without_a_terminal_a_line_has_count_rate_and_time_left(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    """40 of 100 after 20 seconds: 2 a second, 30 seconds to go."""
    with Progress(100, desc="embedding", unit="image") as bar:
        clock.now += 10
        bar.advance(20)
        assert capsys.readouterr().err == ""
        clock.now += 10
        bar.advance(20, "loss 3.21")
        assert capsys.readouterr().err == "embedding: 40/100 images, 2.0/s, 30 s left, loss 3.21\n"
        clock.now += 1
        bar.advance(20)
        assert capsys.readouterr().err == ""  # not one line per step
        clock.now += 15
        bar.advance(20)
        assert capsys.readouterr().err.startswith("embedding: 80/100 images, 2.2/s, ")
    assert capsys.readouterr().err == ""


def test_a_short_job_prints_nothing_to_a_file(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """No line and no control characters."""
    assert list(progress("abc", total=3, desc="reading", unit="file")) == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert captured.out + captured.err == ""


def test_items_pass_through_and_are_counted_one_by_one(clock: Clock, capsys: pytest.CaptureFixture[str]) -> None:
    """An item is counted when the next is requested: it is done then, not before."""
    for _ in progress(range(2), total=2, desc="reading", unit="file"):
        clock.now += 20
    assert [line.split(",")[0] for line in capsys.readouterr().err.splitlines()] == [
        *("reading: 1/2 files", "reading: 2/2 files")
    ]


def test_an_error_among_the_items_is_raised() -> None:
    """Progress hides no error."""

    def broken() -> object:
        yield 1
        raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        list(progress(broken(), total=2, desc="reading", unit="file"))  # type: ignore[arg-type]


def test_on_a_terminal_a_bar_shows_and_goes_away(monkeypatch: pytest.MonkeyPatch, clock: Clock) -> None:
    """With its name and note, and no lines between."""
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    with Progress(4, desc="matching", unit="pair") as bar:
        clock.now += 100
        bar.advance(4, "loss 1.00")
        bar.bar.refresh()
    shown = terminal.getvalue()
    assert "matching" in shown
    assert "4/4" in shown
    assert "loss 1.00" in shown
    assert "s left" not in shown
    assert shown.rpartition("\r")[0].rpartition("\r")[2].strip() == ""  # wiped at the end


def test_nothing_to_do_is_no_error(clock: Clock) -> None:
    """A total of zero, and a clock that does not advance."""
    assert list(progress([], total=0, desc="reading", unit="file")) == []
    with Progress(0, desc="reading", unit="file") as bar:
        bar.advance(0)
