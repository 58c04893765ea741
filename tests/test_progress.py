"""Progress speaks on stderr alone, and plainly where no bar can be drawn."""

import io
import sys

import pytest

from hpedit import progress


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_plain_lines_off_a_terminal(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter([0.0, 5.0, 20.0, 40.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.stage("collect ratings", total=4) as advance:
        advance(1)  # too soon for a line
        advance(1)
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == [
        "collect ratings: 0/4",
        "collect ratings: 2/4, 0:20, ETA 0:20",
        "collect ratings: 2/4 done in 0:40",
    ]


def test_the_eta_leaves_out_what_an_earlier_run_did(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = iter([0.0, 20.0, 20.0])
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.stage("train", total=60, done=50) as advance:
        advance(2)
    assert "train: 52/60, 0:20, ETA 1:20" in capsys.readouterr().err


def test_no_color_is_honoured_on_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "100")
    with progress.stage("bench", total=2) as advance:
        advance(2)
    shown = terminal.getvalue()
    assert "bench" in shown
    assert "2/2" in shown
    assert "\x1b[3" not in shown  # no colour sequence


def test_a_closed_stderr_does_not_stop_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = io.StringIO()
    monkeypatch.setattr(sys, "stderr", closed)
    with progress.stage("train", total=1) as advance:
        monkeypatch.setattr(progress, "PLAIN_EVERY_SECONDS", 0.0)
        closed.close()
        advance(1)
    assert sys.stderr is closed
    assert closed.closed
