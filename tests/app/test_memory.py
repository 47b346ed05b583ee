import asyncio
import os
import threading
from contextlib import suppress

from llmtrace.app.memory import give_back, trimmer


async def test_memory_is_given_back_again_and_again_outside_the_loop() -> None:
    asked: list[tuple[int, int]] = []
    twice = asyncio.Event()
    loop = asyncio.get_running_loop()

    def trim(kept: int) -> int:
        asked.append((kept, threading.get_ident()))
        if len(asked) == 2:
            loop.call_soon_threadsafe(twice.set)
        return 0

    giving = asyncio.create_task(give_back(trim, every=0))
    async with asyncio.timeout(5):
        await twice.wait()
    giving.cancel()
    with suppress(asyncio.CancelledError):
        await giving
    assert asked[0][0] == 0
    assert threading.get_ident() not in {thread for _, thread in asked}


async def test_another_c_library_is_left_alone() -> None:
    await give_back(None)


def test_glibc_can_be_asked() -> None:
    libc = os.confstr("CS_GNU_LIBC_VERSION") if "CS_GNU_LIBC_VERSION" in os.confstr_names else ""
    assert (trimmer() is not None) == bool(libc)
