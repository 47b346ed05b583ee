"""Verdicts that are shared: what others may see of them, and what becomes of calls without."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.base import Hit, Inspection, Skipped
from llmtrace.domain.findings import Severity
from llmtrace.pipeline.verdicts import (
    MAX_VALUE,
    MOST_ASKED,
    STRIKES,
    SharedVerdicts,
    decoded,
    encoded,
)
from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.memory import MemoryCache

SECRET = b"s" * 32
KEY, OTHER = b"k" * 20, b"o" * 20
HIT = Hit(
    kind="prompt_injection",
    severity=Severity.HIGH,
    confidence=0.93,
    start=3,
    end=40,
    detector="injection.override+model",
    stable=True,
)
FOUND = Inspection((HIT,), (), 0.97)
CLEAN = Inspection(())


class Cache:
    """A memory that can be made to fail, to hang, and to lie."""

    def __init__(self) -> None:
        self.inner = MemoryCache()
        self.values: dict[str, bytes] = {}
        self.asked: list[Sequence[str]] = []
        self.fault: BaseException | None = None
        self.well = True
        self.hangs: threading.Event | None = None
        self.wrote = threading.Event()

    def get(self, key: str) -> bytes | None:
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        self.asked.append(keys)
        if self.hangs is not None:
            self.hangs.wait(20)
        if self.fault is not None:
            raise self.fault
        return [self.values.get(key) for key in keys]

    def set(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        self.set_many({key: value}, ttl_seconds=ttl_seconds)

    def set_many(self, values: Mapping[str, bytes], *, ttl_seconds: float) -> None:
        if self.fault is not None:
            raise self.fault
        self.values |= values
        self.wrote.set()

    def invalidate(self, keys: Iterable[str]) -> None:
        for key in keys:
            self.values.pop(key, None)

    def healthy(self) -> bool:
        return self.well

    def close(self) -> None:
        self.values.clear()


@contextmanager
def shared(cache: Cache, **more: Any) -> Iterator[SharedVerdicts]:
    usual = {"secret": SECRET, "seal": "1", "ttl_seconds": 60.0, "deadline": 10.0}
    opened = SharedVerdicts(cache, **{**usual, **more})
    try:
        yield opened
    finally:
        if cache.hangs is not None:
            cache.hangs.set()
        opened.close()


def kept(cache: Cache, verdicts: SharedVerdicts, key: bytes, made: Inspection) -> None:
    cache.wrote.clear()
    verdicts.keep(key, made)
    assert cache.wrote.wait(10)


def until(what: Callable[[], bool]) -> None:
    ends = time.monotonic() + 10
    while not what():
        assert time.monotonic() < ends
        time.sleep(0.002)


def count(verdicts: SharedVerdicts, name: str) -> int:
    return verdicts.counts.get(f"verdict_cache{{{name}}}", 0)


_HITS = st.builds(
    Hit,
    kind=st.text(max_size=20),
    severity=st.sampled_from(Severity),
    confidence=st.floats(0, 1),
    start=st.integers(0, 2**40),
    end=st.integers(0, 2**40),
    detector=st.text(max_size=20),
    value=st.booleans(),
    stable=st.booleans(),
)


@settings(max_examples=30)
@given(st.builds(Inspection, st.lists(_HITS, max_size=5).map(tuple), attack=st.floats(0, 1)))
def test_a_verdict_is_read_as_it_was_written(made: Inspection) -> None:
    assert decoded(encoded(made)) == made


def test_what_one_worker_found_another_knows() -> None:
    cache = Cache()
    with shared(cache) as one, shared(cache) as two:
        assert two.recall([KEY]) == {}
        kept(cache, one, KEY, FOUND)
        kept(cache, one, OTHER, CLEAN)
        assert two.recall([KEY, OTHER, b"x" * 20]) == {KEY: FOUND, OTHER: CLEAN}
        assert (count(two, "hit"), count(two, "miss")) == (2, 2)


def test_the_cache_learns_neither_keys_nor_findings() -> None:
    cache = Cache()
    with shared(cache) as verdicts:
        kept(cache, verdicts, KEY, FOUND)
        ((name, value),) = cache.values.items()
    assert KEY.hex() not in name
    assert b"injection" not in value
    assert name != next(iter(_written(b"t" * 32)))


def _written(secret: bytes, seal: str = "1", made: Inspection = FOUND) -> dict[str, bytes]:
    cache = Cache()
    with shared(cache, secret=secret, seal=seal) as verdicts:
        kept(cache, verdicts, KEY, made)
        return dict(cache.values)


@pytest.mark.parametrize("other", [{"secret": b"t" * 32}, {"seal": "2"}], ids=["secret", "code"])
def test_who_has_another_secret_or_other_code_is_not_believed(other: dict[str, Any]) -> None:
    cache = Cache()
    with shared(cache) as verdicts, shared(cache, **other) as stranger:
        kept(cache, stranger, KEY, CLEAN)
        assert verdicts.recall([KEY]) == {}
        stolen = next(iter(cache.values.values()))
        cache.values[verdicts._name(KEY)] = stolen
        assert verdicts.recall([KEY]) == {}
        assert count(verdicts, "rejected") == 1


POISON: Mapping[str, Callable[[bytes, bytes], bytes]] = {
    "empty": lambda _mine, _other: b"",
    "short": lambda _mine, _other: b"x",
    "plain": lambda _mine, _other: encoded(CLEAN),
    "cut": lambda mine, _other: mine[:-1],
    "flipped": lambda mine, _other: mine[:20] + bytes([mine[20] ^ 1]) + mine[21:],
    "of-another-text": lambda _mine, other: other,
}


@pytest.mark.parametrize("name", POISON)
def test_what_someone_else_has_put_there_counts_as_not_there(name: str) -> None:
    cache = Cache()
    with shared(cache) as verdicts:
        kept(cache, verdicts, KEY, FOUND)
        kept(cache, verdicts, OTHER, CLEAN)
        mine, other = (cache.values[verdicts._name(key)] for key in (KEY, OTHER))
        cache.values[verdicts._name(KEY)] = POISON[name](mine, other)
        assert verdicts.recall([KEY]) == {}
        assert verdicts.recall([OTHER]) == {OTHER: CLEAN}
        assert count(verdicts, "rejected") == 1


def test_a_wrong_form_counts_as_not_there() -> None:
    cache = Cache()
    with shared(cache) as verdicts:
        nonce = b"n" * 12
        name = verdicts._name(KEY)
        for form in (b"[]", b"7", b'[0.5, [["none"]]]', b'[0, [["high", "a"]]]', b"\xff"):
            cache.values[name] = nonce + verdicts._cipher.encrypt(nonce, form, name.encode())
            assert verdicts.recall([KEY]) == {}
        assert count(verdicts, "rejected") == 5


FAULTS = {
    "unavailable": StorageUnavailable("redis at x: it cannot be reached"),
    "fault": TypeError("of the client's"),
    "memory": MemoryError(),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_cache_that_fails_is_left_alone_until_it_is_well(name: str) -> None:
    cache = Cache()
    with shared(cache, rest=0.05) as verdicts:
        kept(cache, verdicts, KEY, FOUND)
        cache.fault, cache.well = FAULTS[name], False
        assert verdicts.recall([KEY]) == {}
        until(lambda: not verdicts.status["reachable"])
        asked = len(cache.asked)
        assert verdicts.recall([KEY]) == {}
        verdicts.keep(OTHER, CLEAN)
        assert len(cache.asked) == asked
        assert count(verdicts, "unavailable") == 1
        cache.fault, cache.well = None, True
        until(lambda: verdicts.status["reachable"] is True)
        assert verdicts.recall([KEY]) == {KEY: FOUND}


def test_a_cache_that_hangs_is_not_waited_for() -> None:
    cache = Cache()
    cache.hangs = threading.Event()
    with shared(cache, deadline=0.02) as verdicts:
        began = time.monotonic()
        for _ in range(STRIKES):
            assert verdicts.status["reachable"] is True
            assert verdicts.recall([KEY]) == {}
        assert verdicts.status["reachable"] is False
        for _ in range(100):
            assert verdicts.recall([KEY]) == {}
        assert time.monotonic() - began < 5
        cache.hangs.set()
        until(lambda: verdicts._jobs.empty())
        assert len(cache.asked) == 1
        assert "too long" in str(verdicts.status["reason"])


def test_now_and_then_a_cache_may_be_slow() -> None:
    cache = Cache()
    with shared(cache, deadline=0.05) as verdicts:
        kept(cache, verdicts, KEY, FOUND)
        for _ in range(STRIKES):
            cache.hangs = threading.Event()
            assert verdicts.recall([KEY]) == {}
            cache.hangs.set()
            cache.hangs = None
            until(lambda: verdicts.recall([KEY]) == {KEY: FOUND})
        assert verdicts.status["reachable"] is True


async def test_an_event_loop_never_waits() -> None:
    cache = Cache()
    with shared(cache) as verdicts:
        assert verdicts.recall([KEY]) == {}
        assert cache.asked == []


def test_what_is_not_whole_or_too_large_is_not_shared() -> None:
    cache = Cache()
    many = Inspection((HIT,) * (MAX_VALUE // 60))
    with shared(cache) as verdicts:
        verdicts.keep(KEY, Inspection((), (Skipped("x", "timeout"),)))
        verdicts.keep(KEY, many)
        kept(cache, verdicts, OTHER, CLEAN)
        assert list(cache.values) == [verdicts._name(OTHER)]
        assert count(verdicts, "not_shared") == 1


def test_one_trip_asks_for_so_many_and_no_more() -> None:
    cache = Cache()
    with shared(cache) as verdicts:
        keys = [number.to_bytes(20) for number in range(MOST_ASKED + 9)]
        assert verdicts.recall(keys) == {}
        assert [len(asked) for asked in cache.asked] == [MOST_ASKED]


def test_many_at_once_write_and_read_the_same() -> None:
    cache = Cache()
    keys = [number.to_bytes(20) for number in range(64)]
    with shared(cache) as verdicts:

        def work() -> None:
            for key in keys:
                verdicts.keep(key, FOUND)
                verdicts.recall([key])

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        until(lambda: len(cache.values) == len(keys))
        assert verdicts.recall(keys) == dict.fromkeys(keys, FOUND)
