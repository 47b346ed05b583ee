import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from llmtrace.environment.clients import Found, ask, behind, examine, table


def says(text: str | None) -> Callable[[Sequence[str]], str | None]:
    return lambda _: text


def nowhere(_: str) -> None:
    return None


@pytest.mark.parametrize(
    ("key", "said", "version", "verdict"),
    [
        ("node", "v20.20.2\n", "20.20.2", "fail"),
        ("node", "v22.20.9", "22.20.9", "fail"),
        ("node", "v22.21.0", "22.21.0", "ok"),
        ("node", "v23.11.0", "23.11.0", "fail"),
        ("node", "v24.0.0", "24.0.0", "warn"),
        ("node", "v24.5.0", "24.5.0", "ok"),
        ("java", 'openjdk version "17.0.15" 2025-04-15', "17.0.15", "ok"),
        ("java", 'openjdk version "21" 2023-09-19', "21", "ok"),
        (
            "java",
            'Picked up JAVA_TOOL_OPTIONS: -Dx=127.0.0.1\nopenjdk version "17.0.1"',
            "17.0.1",
            "ok",
        ),
        ("claude", "2.1.329 (Claude Code)", "2.1.329", "ok"),
        ("curl", "curl 7.88.1 (x86_64-pc-linux-gnu) libcurl/7.88.1", "7.88.1", "ok"),
        ("python", "nothing to see", "", "ok"),
        ("python", None, "", "ok"),
    ],
)
def test_a_version_is_read_and_judged(
    key: str, said: str | None, version: str, verdict: str
) -> None:
    found = examine(key, says(said))
    assert (found.version, found.verdict) == (version, verdict)


def test_a_bad_verdict_says_why_and_what_to_do() -> None:
    found = examine("node", says("v20.1.0"))
    assert isinstance(found, Found)
    assert found.rule
    assert "ignores HTTPS_PROXY" in found.rule.why
    assert "22.21" in found.rule.fix


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("claude", ("claude",)),
        ("/usr/bin/node", ("node",)),
        ("npx", ("node",)),
        ("gemini", ("gemini", "node")),
        ("python3.13", ("python",)),
        ("Node.EXE", ("node",)),
        ("unheard-of", ()),
        ("", ()),
    ],
)
def test_a_command_is_told_by_its_name(command: str, expected: tuple[str, ...]) -> None:
    assert behind(command, nowhere) == expected


@pytest.mark.parametrize(
    ("first", "expected"),
    [
        (b"#!/usr/bin/env node\n", ("node",)),
        (b"#!/usr/bin/env -S python3 -u\n", ("python",)),
        (b"#!/opt/venv/bin/python3.12\nimport x", ("python",)),
        (b"\x7fELF\x02", ()),
        (b"#!" + b"x" * 1000, ()),
        (b"", ()),
    ],
)
def test_a_script_is_told_by_its_first_line(
    first: bytes, expected: tuple[str, ...], tmp_path: Path
) -> None:
    script = tmp_path / "agent"
    script.write_bytes(first)
    assert behind("agent", lambda _: str(script)) == expected


def test_the_table_is_whole() -> None:
    rows = table()
    assert {
        "claude",
        "codex",
        "gemini",
        "copilot",
        "opencode",
        "node",
        "python",
        "java",
        "curl",
    } <= (rows.keys())
    assert all(row.runtime in rows for row in rows.values() if row.runtime)
    assert all(rule.fits((20, 0)) or rule.start for row in rows.values() for rule in row.rules)


def test_a_program_is_asked_and_a_missing_one_says_nothing() -> None:
    assert (ask((sys.executable, "--version")) or "").startswith("Python 3")
    assert ask(("llmtrace-no-such-program",)) is None
