"""What tools do, by name and by the shape of their arguments."""

import pytest

from llmtrace.analyzers.actions.tools import MAX_CHARS, MAX_DEEDS, clean, deeds, short_name, tool_of
from llmtrace.analyzers.actions.values import Access, DeedKind, ToolUse


@pytest.mark.parametrize(
    ("name", "short"),
    [
        ("Bash", "bash"),
        ("run_shell_command", "runshellcommand"),
        ("mcp__files__read-file", "readfile"),
        ("functions.exec", "exec"),
        ("", ""),
        ("mcp__", "mcp"),
    ],
)
def test_short_name(name: str, short: str) -> None:
    assert short_name(name) == short


@pytest.mark.parametrize(
    ("name", "access"),
    [
        ("save_note", Access.WRITE),
        ("lookup", Access.READ),
        ("Glob", Access.LIST),
        ("Edit", Access.WRITE),
    ],
)
def test_access(name: str, access: Access) -> None:
    assert tool_of(name).access is access


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("Bash", '{"command": "ls"}', [(DeedKind.COMMAND, "ls")]),
        ("x", '{"command": ["a", "b c"]}', [(DeedKind.COMMAND, "a 'b c'")]),
        ("x", '{"command": ["a && b"]}', [(DeedKind.COMMAND, "a && b")]),
        ("x", '{"commands": ["a", "b"]}', [(DeedKind.COMMAND, "a"), (DeedKind.COMMAND, "b")]),
        ("x", '{"deep": [{"filePath": "/a"}]}', [(DeedKind.FILE, "/a")]),
        ("x", '{"uri": "file:///a"}', [(DeedKind.FILE, "file:///a")]),
        ("x", '{"href": "https://a.example"}', [(DeedKind.URL, "https://a.example")]),
        ("x", "free text", [(DeedKind.TEXT, "free text")]),
        ("bash", '"ls"', [(DeedKind.COMMAND, "ls")]),
        ("Grep", '{"pattern": "x", "path": "a"}', [(DeedKind.FILE, "a")]),
        ("Bash", '{"command": ""}', []),
        ("Bash", "", []),
    ],
)
def test_deeds(name: str, arguments: str, told: list[tuple[DeedKind, str]]) -> None:
    assert [(deed.kind, deed.text) for deed in deeds(clean(ToolUse(name, arguments)))] == told


def test_deeds_are_bounded() -> None:
    many = ",".join(f'"{number}"' for number in range(MAX_DEEDS * 2))
    assert len(deeds(ToolUse("x", f'{{"paths": [{many}]}}'))) == MAX_DEEDS


def test_cleaning_keeps_offsets() -> None:
    use = clean(ToolUse("x", "a\ud800b" + "c" * MAX_CHARS))
    assert use.arguments.startswith("a\ufffdb")
    assert len(use.arguments) == MAX_CHARS
