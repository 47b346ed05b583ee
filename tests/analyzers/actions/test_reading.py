"""Tool calls as actions."""

import pytest

from llmtrace.analyzers.actions import ToolUse, read_actions
from llmtrace.analyzers.actions.reading import MAX_ACTIONS
from llmtrace.domain.traces import ActionType

COMMAND, FILE, WEB, SKILL = (
    ActionType.COMMAND_EXECUTION,
    ActionType.FILE_ACCESS,
    ActionType.WEB_ACCESS,
    ActionType.SKILL_INVOCATION,
)


@pytest.mark.parametrize(
    ("name", "arguments", "told"),
    [
        ("Bash", '{"command": "ls -l", "description": "x"}', [(COMMAND, "ls -l")]),
        ("shell", '{"command": ["bash", "-lc", "ls -l"]}', [(COMMAND, "bash -lc 'ls -l'")]),
        ("Read", '{"file_path": "/a"}', [(FILE, "/a")]),
        ("Edit", '{"file_path": "/a", "old_string": "b", "new_string": "c"}', [(FILE, "/a")]),
        ("WebFetch", '{"url": "https://a.example", "prompt": "x"}', [(WEB, "https://a.example")]),
        ("web_fetch", '{"prompt": "of https://a.example/x."}', [(WEB, "https://a.example/x")]),
        ("Skill", '{"skill": "pdf", "args": "x"}', [(SKILL, "pdf")]),
        ("activate_skill", '{"name": "pdf"}', [(SKILL, "pdf")]),
        ("mcp__x__read_file", '{"path": "/a"}', [(FILE, "/a")]),
        ("apply_patch", "*** Begin Patch\n*** Update File: a.py\n", [(FILE, "a.py")]),
        ("weather", '{"city": "Rome"}', []),
    ],
)
def test_actions(name: str, arguments: str, told: list[tuple[ActionType, str]]) -> None:
    first, *rest = read_actions(ToolUse(name, arguments), "call_1")
    assert (first.action_type, first.name, first.arguments) == (
        ActionType.TOOL_CALL,
        name,
        arguments,
    )
    assert [(action.action_type, action.arguments) for action in rest] == told
    assert {action.call_id for action in (first, *rest)} == {"call_1"}


def test_actions_are_bounded() -> None:
    paths = ",".join(f'"{number}"' for number in range(500))
    assert len(read_actions(ToolUse("Read", f'{{"paths": [{paths}]}}'))) == MAX_ACTIONS
