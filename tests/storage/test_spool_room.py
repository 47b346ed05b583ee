from pathlib import Path
from typing import get_args

import pytest

from llmtrace.storage.spool_files import Segment
from llmtrace.storage.spool_room import (
    MEASURED_EVERY,
    MEASURED_WHEN_FULL_EVERY,
    RESERVE,
    WITHIN_RESERVE,
    Answer,
    Bounds,
    Call,
    Level,
    OnFull,
    Room,
    answer,
)
from llmtrace.testing.faults import FaultyIO

MAX = 16_000
FREE = 1_000


def a_room(root: Path, io: FaultyIO) -> Room:
    return Room(root, Bounds(max_bytes=MAX, min_free_bytes=FREE), io)


def spooled(root: Path, size: int) -> Path:
    (root / "w1").mkdir(exist_ok=True)
    path = root / "w1" / Segment(number=1, seed=1).name
    path.write_bytes(bytes(size))
    return path


@pytest.mark.parametrize(
    ("used", "free", "size", "level"),
    [
        pytest.param(0, 10**9, 1, Level.ROOM, id="empty"),
        pytest.param(MAX - 1, 10**9, 1, Level.ROOM, id="to-the-bound"),
        pytest.param(MAX, 10**9, 1, Level.RESERVE, id="past-the-bound"),
        pytest.param(MAX + MAX // RESERVE - 1, 10**9, 1, Level.RESERVE, id="end-of-reserve"),
        pytest.param(MAX + MAX // RESERVE, 10**9, 1, Level.FULL, id="past-the-reserve"),
        pytest.param(0, FREE + 1, 1, Level.ROOM, id="disk-at-the-floor"),
        pytest.param(0, FREE, 1, Level.RESERVE, id="disk-below-the-floor"),
        pytest.param(0, FREE // 2, 1, Level.FULL, id="disk-below-half-the-floor"),
    ],
)
def test_levels(tmp_path: Path, used: int, free: int, size: int, level: Level) -> None:
    spooled(tmp_path, used)
    assert a_room(tmp_path, FaultyIO(free=free)).level(size, 0.0) is level


def test_the_file_system_is_not_asked_each_time(tmp_path: Path) -> None:
    io = FaultyIO(free=10**9)
    room = a_room(tmp_path, io)
    room.level(1, 0.0)
    calls = io.calls
    for _ in range(100):
        room.level(1, MEASURED_EVERY * 0.99)
    assert io.calls == calls
    room.level(1, MEASURED_EVERY)
    assert io.calls > calls


def test_what_is_written_counts_before_it_is_measured(tmp_path: Path) -> None:
    room = a_room(tmp_path, FaultyIO(free=10**9))
    assert room.level(0, 0.0) is Level.ROOM
    room.add(MAX + 1)
    assert room.level(0, 0.01) is Level.RESERVE


def test_a_freed_spool_is_noticed_soon(tmp_path: Path) -> None:
    path = spooled(tmp_path, MAX * 2)
    room = a_room(tmp_path, FaultyIO(free=10**9))
    assert room.level(1, 0.0) is Level.FULL
    path.unlink()
    assert room.level(1, MEASURED_WHEN_FULL_EVERY / 2) is Level.FULL
    assert room.level(1, MEASURED_WHEN_FULL_EVERY) is Level.ROOM


def test_answers() -> None:
    policies = get_args(OnFull.__value__)
    assert set(WITHIN_RESERVE) == {(policy, call) for policy in policies for call in Call}
    for policy in policies:
        for call in Call:
            assert answer(Level.ROOM, policy, call) is Answer.WRITE
            assert answer(Level.FULL, policy, call) is Answer.DROP
    assert answer(Level.RESERVE, "block", Call.NEW) is Answer.DROP
    assert answer(Level.RESERVE, "block", Call.BEGUN) is Answer.WRITE
    assert answer(Level.RESERVE, "drop_payload", Call.NEW) is Answer.STRIP
