"""What was begun is taken once, whoever takes it, and is bounded."""

import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from llmtrace.storage.deferred import KEEP_SECONDS, Deferred, DeferredFiles, MemoryDeferred, Owed
from llmtrace.storage.redis_deferred import RedisDeferred
from llmtrace.storage.redis_link import RedisLink
from llmtrace.testing import redis

OWED = Owed(id="01", tenant="acme")
NO_REDIS = pytest.mark.skipif(not redis.installed(), reason=redis.MISSING)


def in_redis(folder: Path, *, url: str = "", size: int = 2) -> RedisDeferred:
    link = RedisLink(url or redis.shared_server().url, timeout=1.0)
    return RedisDeferred(link, MemoryDeferred(), prefix=str(folder), size=size)


KINDS: dict[str, Callable[[Path], Deferred]] = {
    "memory": lambda _folder: MemoryDeferred(size=2),
    "files": lambda folder: DeferredFiles(folder / "deferred", size=2),
    "redis": in_redis,
}


@pytest.fixture(
    params=["memory", "files", pytest.param("redis", marks=NO_REDIS)],
)
def deferred(request: pytest.FixtureRequest, tmp_path: Path) -> Deferred:
    return KINDS[str(request.param)](tmp_path)


def files_of(folder: Path) -> list[Path]:
    return sorted((folder / "deferred").glob("*"))


def test_only_what_was_begun_is_taken_and_only_once(deferred: Deferred) -> None:
    deferred.begin("openai:resp_1", OWED)
    assert deferred.take("openai:resp_1") == OWED
    assert deferred.take("openai:resp_1") is None
    assert deferred.take("openai:resp_2") is None


def test_what_is_begun_again_is_owed_as_it_was(deferred: Deferred) -> None:
    deferred.begin("openai:resp_1", OWED)
    deferred.begin("openai:resp_1", Owed())
    assert deferred.take("openai:resp_1") == OWED


def test_any_name_will_do(deferred: Deferred) -> None:
    deferred.begin("x:../../\ud800/" + "n" * 10_000, OWED)
    assert deferred.take("x:../../\ud800/" + "n" * 10_000) == OWED


@pytest.mark.parametrize("kind", ["memory", pytest.param("redis", marks=NO_REDIS)])
def test_what_is_kept_is_bounded(kind: str, tmp_path: Path) -> None:
    deferred = KINDS[kind](tmp_path)
    for number in range(3):
        deferred.begin(f"resp_{number}", OWED)
    assert [deferred.take(f"resp_{n}") for n in range(3)] == [None, OWED, OWED]


def test_another_process_takes_it_and_a_restart_loses_nothing(tmp_path: Path) -> None:
    DeferredFiles(tmp_path / "deferred").begin("openai:resp_1", OWED)
    assert DeferredFiles(tmp_path / "deferred").take("openai:resp_1") == OWED
    assert DeferredFiles(tmp_path / "deferred").take("openai:resp_1") is None


def test_of_many_who_ask_at_once_one_is_told(tmp_path: Path) -> None:
    deferred = DeferredFiles(tmp_path / "deferred")
    for number in range(20):
        name = f"openai:resp_{number}"
        deferred.begin(name, OWED)
        start = threading.Barrier(4)

        def take(name: str = name, start: threading.Barrier = start) -> Owed | None:
            start.wait()
            return deferred.take(name)

        with ThreadPoolExecutor(4) as pool:
            found = [future.result() for future in [pool.submit(take) for _ in range(4)]]
        assert found.count(OWED) == 1


def test_nobody_else_reads_the_files_and_no_name_stands_in_them(tmp_path: Path) -> None:
    DeferredFiles(tmp_path / "deferred").begin("openai:resp_1", OWED)
    (path,) = files_of(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert path.parent.stat().st_mode & 0o777 == 0o700
    assert "resp_1" not in path.name + path.read_text()


def test_the_oldest_are_forgotten_where_there_are_too_many(tmp_path: Path) -> None:
    deferred = DeferredFiles(tmp_path / "deferred", size=2, now=lambda: 100.0)
    for number in range(3):
        before = set(files_of(tmp_path))
        deferred.begin(f"resp_{number}", OWED)
        (new,) = set(files_of(tmp_path)) - before
        os.utime(new, (number, number))
    deferred.prune()
    assert [deferred.take(f"resp_{n}") for n in range(3)] == [None, OWED, OWED]


def test_what_nobody_fetched_is_forgotten(tmp_path: Path) -> None:
    deferred = DeferredFiles(tmp_path / "deferred", now=lambda: 1.0 + KEEP_SECONDS)
    deferred.begin("resp_1", OWED)
    (path,) = files_of(tmp_path)
    os.utime(path, (0, 0))
    deferred.prune()
    assert deferred.take("resp_1") is None


def test_a_note_that_was_cut_short_still_says_that_it_was_begun(tmp_path: Path) -> None:
    deferred = DeferredFiles(tmp_path / "deferred")
    deferred.begin("resp_1", OWED)
    (path,) = files_of(tmp_path)
    path.write_bytes(b'{"id":')
    assert deferred.take("resp_1") == Owed()


def test_a_folder_that_cannot_be_used_is_told_of(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "deferred").write_text("a file")
    deferred = DeferredFiles(tmp_path / "deferred")
    deferred.begin("resp_1", OWED)
    assert deferred.take("resp_1") is None
    deferred.prune()
    said = [record.message for record in caplog.records]
    assert len(said) == 3
    assert "an answer to come cannot be noted" in said[0]
    assert not any("resp_1" in text for text in said)
