import asyncio

from llmtrace.addons.pacing import Pace


async def test_readers_wait_until_what_they_read_is_handled() -> None:
    waiting, went = 9, []
    pace = Pace(lambda: waiting > 8)

    async def read(name: str) -> None:
        await pace.kept()
        went.append(name)

    readers = [asyncio.create_task(read(name)) for name in "ab"]
    await asyncio.sleep(0)
    pace.caught_up()
    await asyncio.sleep(0)
    assert went == []
    waiting = 8
    pace.caught_up()
    await asyncio.gather(*readers)
    assert went == ["a", "b"]


async def test_a_reader_waits_on_if_it_is_behind_again_before_its_turn() -> None:
    behind = True
    pace = Pace(lambda: behind)
    reader = asyncio.create_task(pace.kept())
    await asyncio.sleep(0)
    behind = False
    pace.caught_up()
    behind = True
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not reader.done()
    behind = False
    pace.caught_up()
    await reader


async def test_a_reader_that_was_cancelled_holds_no_other() -> None:
    behind = True
    pace = Pace(lambda: behind)
    gone, stays = (asyncio.create_task(pace.kept()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    behind = False
    pace.caught_up()
    await stays
    assert gone.cancelled()
