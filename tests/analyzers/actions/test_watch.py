"""Tools that are not what they were."""

from llmtrace.analyzers.actions import ToolWatch
from llmtrace.providers.base import ToolDefinition

KEY = ("tenant", "agent")


def tool(name: str, digest: str) -> ToolDefinition:
    return ToolDefinition(name=name, digest=digest)


def pass_through(watch: ToolWatch, *tools: ToolDefinition, key: tuple[str, ...] = KEY) -> list[str]:
    """Offer tools in a call that is let through, and return what is told of them."""
    told = watch.changed(key, tools)
    watch.remember(key, tools)
    return told


def test_a_change_that_was_let_through_is_told_once() -> None:
    watch = ToolWatch()
    assert pass_through(watch, tool("a", "1"), tool("b", "1")) == []
    assert pass_through(watch, tool("a", "1"), tool("b", "2")) == ["b"]
    assert pass_through(watch, tool("a", "1"), tool("b", "2")) == []
    assert pass_through(watch, tool("b", "1")) == ["b"]


def test_a_change_that_was_refused_is_told_until_the_tool_is_what_it_was() -> None:
    watch = ToolWatch()
    pass_through(watch, tool("a", "1"))
    assert [watch.changed(KEY, [tool("a", "2")]) for _ in range(3)] == [["a"]] * 3
    assert pass_through(watch, tool("a", "1")) == []
    assert watch.changed(KEY, [tool("a", "2")]) == ["a"]


def test_a_tool_that_was_away_is_remembered() -> None:
    watch = ToolWatch()
    pass_through(watch, tool("a", "1"))
    pass_through(watch)
    assert watch.changed(KEY, [tool("a", "2")]) == ["a"]


def test_keys_are_apart() -> None:
    watch = ToolWatch()
    pass_through(watch, tool("a", "1"))
    assert watch.changed(("other",), [tool("a", "2")]) == []


def test_a_name_that_is_offered_twice_does_not_flap() -> None:
    watch = ToolWatch()
    both = [tool("a", "1"), tool("a", "2")]
    assert [pass_through(watch, *both) for _ in range(3)] == [[], [], []]
    assert pass_through(watch, tool("a", "2")) == []
    assert pass_through(watch, *both) == []
    assert pass_through(watch, *both, tool("a", "3")) == ["a"]


def test_what_is_remembered_is_bounded() -> None:
    watch = ToolWatch(max_keys=2, max_tools=2)
    pass_through(watch, *(tool(str(number), "1") for number in range(5)))
    assert pass_through(watch, tool("0", "2"), tool("4", "2")) == ["4"]
    for number in range(3):
        pass_through(watch, key=(str(number),))
    assert watch.changed(KEY, [tool("4", "3")]) == []


def test_who_is_refused_again_and_again_is_not_forgotten_for_others() -> None:
    watch = ToolWatch(max_keys=2)
    pass_through(watch, tool("a", "1"))
    for number in range(3):
        assert watch.changed(KEY, [tool("a", "2")]) == ["a"]
        pass_through(watch, key=(str(number),))
    assert watch.changed(KEY, [tool("a", "2")]) == ["a"]
