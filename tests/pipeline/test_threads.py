import sys
import threading

import pytest

from llmtrace.pipeline.threads import LARGE, TURN_SECONDS, off_loop, share_the_interpreter


@pytest.mark.parametrize(("size", "here"), [(0, True), (LARGE - 1, True), (LARGE, False)])
async def test_large_work_leaves_the_loop(size: int, here: bool) -> None:
    thread = await off_loop(size, threading.get_ident)
    assert (thread == threading.get_ident()) is here


def test_the_loop_soon_has_its_turn() -> None:
    before = sys.getswitchinterval()
    try:
        share_the_interpreter()
        assert sys.getswitchinterval() == pytest.approx(TURN_SECONDS)
    finally:
        sys.setswitchinterval(before)


async def test_what_the_work_raises_is_raised() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        await off_loop(LARGE, int, "x")
