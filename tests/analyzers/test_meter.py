import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.analyzers.meter import (
    BOUNDS_MS,
    FAILING_SECONDS,
    TELL_SECONDS,
    Meter,
    quantile,
    total,
)


def counted(**values: Any) -> dict[str, Any]:
    return {**Meter().snapshot(), **values}


def test_a_text_is_counted_with_its_windows_and_its_time() -> None:
    meter = Meter()
    with meter.text():
        meter.read(3)
        assert meter.snapshot()["queue"] == 1
    said = total([meter.snapshot()])
    assert (said["texts"], said["windows"], said["queue"], said["queue_most"]) == (1, 3, 0, 1)
    assert said["p50_ms"] in BOUNDS_MS


def test_texts_that_wait_are_in_the_queue() -> None:
    meter, inside, leave = Meter(), threading.Barrier(3), threading.Event()

    def read() -> None:
        with meter.text():
            inside.wait(5)
            leave.wait(5)

    threads = [threading.Thread(target=read) for _ in range(2)]
    for thread in threads:
        thread.start()
    inside.wait(5)
    assert meter.snapshot()["queue"] == 2
    leave.set()
    for thread in threads:
        thread.join()
    assert meter.snapshot()["queue_most"] == 2
    assert meter.snapshot()["queue"] == 0


def test_a_text_that_cannot_be_read_leaves_the_queue() -> None:
    meter = Meter()
    with pytest.raises(ValueError, match="broken"), meter.text():
        raise ValueError("broken")
    assert (meter.snapshot()["queue"], meter.snapshot()["texts"]) == (0, 1)


def test_a_fault_counts_and_makes_a_model_failing_for_a_while() -> None:
    now = 0.0
    meter = Meter(clock=lambda: now)
    assert (meter.snapshot()["failed"], meter.snapshot()["failing"]) == (0, "")
    meter.fail(KeyError("x"))
    now = FAILING_SECONDS - 1
    assert (meter.snapshot()["failed"], meter.snapshot()["failing"]) == (1, "KeyError")
    now = FAILING_SECONDS
    assert (meter.snapshot()["failed"], meter.snapshot()["failing"]) == (1, "")


def test_a_fault_is_to_be_told_of_once_in_a_while() -> None:
    now = 0.0
    meter = Meter(clock=lambda: now)
    told = []
    for second in (0, 1, TELL_SECONDS - 1, TELL_SECONDS, TELL_SECONDS + 1):
        now = second
        told.append(meter.fail(KeyError("x")))
    assert told == [True, False, False, True, False]
    assert meter.snapshot()["failed"] == 5


def test_a_batch_is_the_windows_of_the_largest_pass() -> None:
    meter, other = Meter(), Meter()
    for windows in (1, 1):
        meter.read(windows)
    for windows in (3, 2):
        other.read(windows)
    assert (meter.snapshot()["batch"], other.snapshot()["batch"]) == (1, 3)
    assert total([meter.snapshot(), other.snapshot()])["batch"] == 3


def test_processes_add_up() -> None:
    times = [0] * (len(BOUNDS_MS) + 1)
    fast, slow = times.copy(), times.copy()
    fast[2], slow[5] = 98, 2
    said = total(
        [
            counted(texts=98, windows=98, times=fast, load_ms=100.0, queue=1, failed=1),
            counted(texts=2, windows=9, times=slow, load_ms=300.0, queue=2, failed=2),
        ]
    )
    assert (said["texts"], said["windows"], said["queue"], said["load_ms"]) == (100, 107, 3, 300.0)
    assert (said["p50_ms"], said["p95_ms"], said["p99_ms"]) == (3, 3, 10)
    assert said["failed"] == 3


def test_nothing_read_has_no_times() -> None:
    assert total([Meter().snapshot()])["p99_ms"] is None


@given(st.lists(st.integers(0, 50), min_size=len(BOUNDS_MS) + 1, max_size=len(BOUNDS_MS) + 1))
def test_quantiles_never_fall(times: list[int]) -> None:
    made = [quantile(times, share) for share in (0.5, 0.95, 0.99)]
    if sum(times):
        assert made == sorted(one for one in made if one is not None)
    else:
        assert made == [None] * 3
