"""Keeps work that takes time by the size of a body out of the event loop."""

import asyncio
from collections.abc import Callable
from typing import Final

LARGE: Final = 64 * 1024
"""Bytes from which work is done in a thread: reading as many takes a millisecond."""


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
