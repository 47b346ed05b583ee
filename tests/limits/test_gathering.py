"""Calls that come together are asked for together, and none of them waits for long."""

import asyncio
from collections.abc import Sequence
from itertools import pairwise

import pytest

from llmtrace.limits.gathering import MOST_ROUNDS, Gathering
from llmtrace.limits.waiting import AT_ONCE, Fresh


class Desk:
    """Notes how many calls it is asked for at a time, and in which round of the loop."""

    def __init__(self) -> None:
        self.asked: list[tuple[int, int]] = []
        self.order: list[Fresh] = []
        self.round = 0
        self.gathering = Gathering(self.ask)

    def ask(self, calls: Sequence[Fresh]) -> None:
        self.asked.append((self.round, len(calls)))
        self.order += calls

    async def come(self, *calls: int) -> None:
        """Let so many calls come in one round of the loop after another."""
        loop = asyncio.get_running_loop()
        for count in calls:
            for _ in range(count):
                self.gathering.join(Fresh(lambda: None, loop.create_future()), loop)
            await asyncio.sleep(0)
            self.round += 1

    async def rest(self) -> None:
        await self.come(*[0] * (MOST_ROUNDS + 3))


@pytest.fixture
def desk() -> Desk:
    return Desk()


async def test_calls_of_one_round_are_asked_for_together(desk: Desk) -> None:
    await desk.come(3)
    await desk.rest()
    assert desk.asked == [(0, 3)]


async def test_after_a_crowd_calls_wait_as_long_as_others_come(desk: Desk) -> None:
    await desk.come(2, 1, 5, 3, 0, 1)
    await desk.rest()
    assert [count for _, count in desk.asked] == [2, 9, 1]


async def test_no_call_waits_for_more_than_some_rounds(desk: Desk) -> None:
    await desk.come(2, *[1] * (2 * MOST_ROUNDS))
    asked = [at for at, _ in desk.asked]
    assert max(late - early for early, late in pairwise(asked)) <= MOST_ROUNDS + 1


async def test_one_that_comes_by_itself_ends_the_waiting(desk: Desk) -> None:
    assert desk.gathering.is_alone
    await desk.come(2)
    await desk.rest()
    assert not desk.gathering.is_alone
    await desk.come(1)
    await desk.rest()
    assert desk.gathering.is_alone


async def test_a_crowd_is_asked_for_in_its_order_and_so_many_at_a_time(desk: Desk) -> None:
    loop = asyncio.get_running_loop()
    calls = [Fresh(lambda: None, loop.create_future()) for _ in range(2 * AT_ONCE + 1)]
    for call in calls:
        desk.gathering.join(call, loop)
    assert len(desk.gathering) == len(calls)
    await desk.rest()
    assert [count for _, count in desk.asked] == [AT_ONCE, AT_ONCE, 1]
    assert desk.order == calls
    assert len(desk.gathering) == 0
