import os
import sys
import threading

import pytest

from llmtrace.storage.background import NICENESS, Background


def priority() -> int:
    return os.getpriority(os.PRIO_PROCESS, 0)


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere a process has one priority")
def test_work_steps_back_and_the_rest_of_the_process_does_not() -> None:
    before = priority()
    with Background() as background:
        assert background.run(priority) == min(19, before + NICENESS)
        assert priority() == before


def test_what_the_work_raises_is_raised_and_the_next_is_done() -> None:
    with Background() as background:
        with pytest.raises(ZeroDivisionError):
            background.run(lambda: 1 // 0)
        assert background.run(lambda: 1) == 1
        assert background.run(threading.get_ident) != threading.get_ident()


def test_where_a_sandbox_forbids_to_step_back_the_work_is_done_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def forbidden(_: int) -> int:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "nice", forbidden)
    with Background() as background:
        assert background.run(lambda: 1) == 1
