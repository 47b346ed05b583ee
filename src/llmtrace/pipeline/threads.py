"""Keeps work that takes time by the size of a body out of the event loop."""

import asyncio
import sys
from collections.abc import Callable
from typing import Final

LARGE: Final = 64 * 1024
"""Bytes from which work is done in a thread: reading as many takes a millisecond."""
JUDGED_HERE: Final = 4 * 1024
"""Bytes of a request that is judged in the loop. Made to be slow, as many take 3 ms; plain text of
twice as many 0.13 ms, and 0.05 ms more in a thread."""
TURN_SECONDS: Final = 0.001
"""How long a thread may hold the interpreter while another, as the loop, waits for it."""


def share_the_interpreter() -> None:
    """Let a loop that waits for the interpreter have it after ``TURN_SECONDS``, not after 5 ms."""
    sys.setswitchinterval(TURN_SECONDS)


def is_cancelled() -> bool:
    """Whether the task itself is being cancelled, rather than something that it waited for."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def off_loop[**P, T](size: int, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Do what takes time by ``size`` bytes: here, or in a thread if these are many."""
    if size < LARGE:
        return work(*args, **kwargs)
    done: T = await asyncio.to_thread(work, *args, **kwargs)
    return done
