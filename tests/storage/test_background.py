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
    background = Background()
    assert background.run(priority) == min(19, before + NICENESS)
    assert priority() == before
    background.close()


def test_what_the_work_raises_is_raised_and_the_next_is_done() -> None:
    background = Background()
    with pytest.raises(ZeroDivisionError):
        background.run(lambda: 1 // 0)
    assert background.run(lambda: 1) == 1
    assert background.run(threading.get_ident) != threading.get_ident()
    background.close()
