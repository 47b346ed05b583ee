"""Tools that are not what they were."""

from llmtrace.analyzers.actions import ToolWatch
from llmtrace.providers.base import ToolDefinition

KEY = ("tenant", "agent")


def tool(name: str, digest: str) -> ToolDefinition:
    return ToolDefinition(name=name, digest=digest)


def test_a_changed_description_is_told_once() -> None:
    watch = ToolWatch()
    assert watch.changed(KEY, [tool("a", "1"), tool("b", "1")]) == []
    assert watch.changed(KEY, [tool("a", "1"), tool("b", "2")]) == ["b"]
    assert watch.changed(KEY, [tool("a", "1"), tool("b", "2")]) == []
    assert watch.changed(KEY, [tool("b", "1")]) == ["b"]


def test_a_tool_that_was_away_is_remembered() -> None:
    watch = ToolWatch()
    watch.changed(KEY, [tool("a", "1")])
    watch.changed(KEY, [])
    assert watch.changed(KEY, [tool("a", "2")]) == ["a"]


def test_keys_are_apart() -> None:
    watch = ToolWatch()
    watch.changed(KEY, [tool("a", "1")])
    assert watch.changed(("other",), [tool("a", "2")]) == []


def test_a_name_that_is_offered_twice_does_not_flap() -> None:
    watch = ToolWatch()
    both = [tool("a", "1"), tool("a", "2")]
    assert [watch.changed(KEY, both) for _ in range(3)] == [[], [], []]
    assert watch.changed(KEY, [tool("a", "2")]) == []
    assert watch.changed(KEY, both) == []
    assert watch.changed(KEY, [*both, tool("a", "3")]) == ["a"]


def test_what_is_remembered_is_bounded() -> None:
    watch = ToolWatch(max_keys=2, max_tools=2)
    watch.changed(KEY, [tool(str(number), "1") for number in range(5)])
    assert watch.changed(KEY, [tool("0", "2"), tool("4", "2")]) == ["4"]
    for number in range(3):
        watch.changed((str(number),), [])
    assert watch.changed(KEY, [tool("4", "3")]) == []
