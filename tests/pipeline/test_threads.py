import threading

import pytest

from llmtrace.pipeline.threads import LARGE, off_loop


@pytest.mark.parametrize(("size", "here"), [(0, True), (LARGE - 1, True), (LARGE, False)])
async def test_large_work_leaves_the_loop(size: int, here: bool) -> None:
    thread = await off_loop(size, threading.get_ident)
    assert (thread == threading.get_ident()) is here


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await off_loop(LARGE, int, "x")
