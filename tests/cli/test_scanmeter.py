import io
import sys

import pytest

from llmtrace.cli.scanmeter import metered


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def told(
    monkeypatch: pytest.MonkeyPatch, *, out: io.StringIO, err: io.StringIO, lines: bool
) -> tuple[str, str]:
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    with metered(100, lines=lines) as meter:
        meter.say("\x1b[31mfound\x1b[0m")
        meter.advance(50)
        meter.advance(100)
    return out.getvalue(), err.getvalue()


def test_a_pipe_gets_lines_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    said = told(monkeypatch, out=io.StringIO(), err=io.StringIO(), lines=True)
    assert said == ("found\n", "")


def test_a_terminal_has_a_bar_beside_what_goes_into_a_file(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    out, err = told(monkeypatch, out=io.StringIO(), err=Terminal(), lines=False)
    assert out == "found\n"
    assert "100%" in err
    assert "2 texts" in err


def test_a_terminal_has_lines_above_the_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = told(monkeypatch, out=Terminal(), err=Terminal(), lines=True)
    assert "found" in out
    assert "2 texts" in out
    assert err == ""


def test_rows_on_a_terminal_are_their_own_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    out, err = told(monkeypatch, out=Terminal(), err=Terminal(), lines=False)
    assert "texts" not in out + err
