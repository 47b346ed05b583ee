"""Tools that are not what they were."""

from collections.abc import Callable, Collection

import pytest

from llmtrace.analyzers.actions import ToolWatch
from llmtrace.analyzers.actions.watch import Digests, Key
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


def test_to_ask_makes_nobody_forget() -> None:
    watch = ToolWatch(max_keys=2)
    pass_through(watch, tool("a", "1"))
    for number in range(3):
        watch.changed((str(number),), [tool("a", "1")])
    pass_through(watch, tool("a", "1"), key=("other",))
    assert watch.changed(KEY, [tool("a", "2")]) == ["a"]


class Board:
    """What workers share, in a store that can be away, and says only later what was there."""

    def __init__(self) -> None:
        self.kept: dict[tuple[Key, str], frozenset[str]] = {}
        self.asked: list[list[str]] = []
        self.away = self.late = False
        self.untold: list[Callable[[], None]] = []

    def known(self, key: Key, names: Collection[str]) -> Digests:
        self.asked.append(list(names))
        if self.away:
            return {}
        return {name: self.kept[key, name] for name in names if (key, name) in self.kept}

    def keep(
        self, key: Key, new: Digests, changed: Digests, learn: Callable[[Digests], None]
    ) -> None:
        if self.away:
            return
        self.kept.update({(key, name): now for name, now in changed.items()})
        there = {name: self.kept.setdefault((key, name), now) for name, now in new.items()}
        lost = {name: kept for name, kept in there.items() if kept != new[name]}
        self.untold.append(lambda: learn(lost))
        if not self.late:
            self.tell()

    def tell(self) -> None:
        while self.untold:
            self.untold.pop()()


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def workers(board: Board) -> tuple[ToolWatch, ToolWatch]:
    return ToolWatch(shelf=board), ToolWatch(shelf=board)


def test_a_change_shows_to_a_worker_that_has_not_seen_the_tool(
    workers: tuple[ToolWatch, ToolWatch],
) -> None:
    one, two = workers
    assert pass_through(one, tool("a", "1"), tool("b", "1")) == []
    assert two.changed(KEY, [tool("a", "1"), tool("b", "2"), tool("c", "1")]) == ["b"]
    assert two.changed(("other",), [tool("b", "2")]) == []


def test_a_change_that_was_refused_is_told_by_all_workers(
    workers: tuple[ToolWatch, ToolWatch],
) -> None:
    one, two = workers
    pass_through(one, tool("a", "1"))
    assert [worker.changed(KEY, [tool("a", "2")]) for worker in (two, one, two)] == [["a"]] * 3
    assert pass_through(two, tool("a", "1")) == []


def test_a_change_that_was_let_through_is_told_by_one_worker(
    workers: tuple[ToolWatch, ToolWatch],
) -> None:
    one, two = workers
    pass_through(one, tool("a", "1"))
    assert pass_through(two, tool("a", "2")) == ["a"]
    assert pass_through(one, tool("a", "2")) == []
    assert pass_through(two, tool("a", "1")) == ["a"]


def test_others_are_asked_once_and_for_what_is_not_known(
    workers: tuple[ToolWatch, ToolWatch], board: Board
) -> None:
    one, two = workers
    both = [tool("a", "1"), tool("b", "1")]
    for worker in (one, two, one, two):
        pass_through(worker, *both)
    assert board.asked == [["a", "b"]] * 2
    pass_through(one, *both, tool("c", "1"))
    assert board.asked[2:] == [["c"]]


@pytest.mark.parametrize("late", [False, True])
def test_of_two_first_descriptions_at_once_the_second_is_told(
    workers: tuple[ToolWatch, ToolWatch], board: Board, late: bool
) -> None:
    one, two = workers
    board.late = late
    first, second = [tool("a", "1")], [tool("a", "1"), tool("a", "2")]
    assert one.changed(KEY, first) == two.changed(KEY, second) == []
    one.remember(KEY, first)
    two.remember(KEY, second)
    board.tell()
    assert two.changed(KEY, second) == ["a"]
    assert one.changed(KEY, first) == two.changed(KEY, first) == []


def test_each_worker_compares_by_itself_while_the_others_cannot_be_asked(
    workers: tuple[ToolWatch, ToolWatch], board: Board
) -> None:
    one, two = workers
    board.away = True
    pass_through(one, tool("a", "1"))
    assert two.changed(KEY, [tool("a", "2")]) == []
    assert pass_through(one, tool("a", "2")) == ["a"]


def test_what_was_forgotten_here_is_asked_for() -> None:
    watch = ToolWatch(max_keys=2, max_tools=2, shelf=Board())
    pass_through(watch, *(tool(str(number), "1") for number in range(3)))
    assert watch.changed(KEY, [tool("0", "2")]) == ["0"]
    for number in range(3):
        pass_through(watch, tool("a", "1"), key=(str(number),))
    assert watch.changed(("0",), [tool("a", "2")]) == ["a"]
