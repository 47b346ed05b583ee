import io
import json
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.cli.common import (
    counted,
    dollars,
    print_json,
    print_table,
    read_config,
    terminal_width,
    visible,
)


@given(st.text())
def test_any_text_is_visible_in_one_line_and_can_be_written(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("gpt-5 · größer 模型 🎉", "gpt-5 · größer 模型 🎉"),
        ("a\0b\n\x1b[2J\x9b", "a\\x00b\\n\\x1b[2J\\x9b"),
        ("\u202eexe.txt\u200b", "\\u202eexe.txt\\u200b"),
        ("\ud800", "\\ud800"),
    ],
)
def test_only_what_moves_a_cursor_is_escaped(text: str, shown: str) -> None:
    assert visible(text) == shown


@pytest.mark.parametrize(
    ("nano", "text"),
    [
        (None, "-"),
        (0, "$0.0000"),
        (1_250_000, "$0.0013"),
        (999_949_999, "$0.9999"),
        (10**9, "$1.00"),
        (12_345_678_901, "$12.35"),
    ],
)
def test_money_for_people(nano: int | None, text: str) -> None:
    assert dollars(nano) == text


def test_a_table_in_a_pipe_is_one_line_a_row(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["name", ">size"], [["x" * 300, "1"], ["\x1b[2J", "22"]])
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 3
    assert lines[1] == "x" * 300 + "     1"
    assert lines[2].startswith("\\x1b[2J ")
    assert lines[2].endswith("  22")


def test_a_table_without_titles_has_no_head(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["", ""], [["key", "value"]])
    assert capsys.readouterr().out == "key  value\n"


def test_json_is_written_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    print_json({"a": Path("/ü")})
    assert json.loads(raw.getvalue()) == {"a": "/ü"}


def test_a_pipe_has_no_width(monkeypatch: pytest.MonkeyPatch) -> None:
    assert terminal_width() is None
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "77")
    assert terminal_width() == 77


def test_a_bad_configuration_ends_with_2(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        read_config(tmp_path / "none.yaml")
    assert ended.value.code == 2
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize(("number", "said"), [(0, "0 calls"), (1, "1 call"), (2, "2 calls")])
def test_one_is_no_plural(number: int, said: str) -> None:
    assert counted(number, "call") == said
