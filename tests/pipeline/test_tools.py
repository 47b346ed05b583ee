"""What workers share of tools, and what becomes of it while the store is busy or away."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from llmtrace.analyzers.actions.watch import Digests
from llmtrace.pipeline import tools as module
from llmtrace.pipeline.tools import MAX_DIGESTS, SharedTools
from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.sqlite_shared import SharedSqliteFile
from llmtrace.storage.sqlite_tools import SqliteTools, ToolRow

KEY = ("acme", "bot", "session-7", "openai.chat")
ONE, TWO = frozenset({"1" * 64}), frozenset({"2" * 64})


class Store:
    """A store in memory that can be busy or away. Threads wait for ``free`` while it is busy."""

    def __init__(self) -> None:
        self.rows: dict[tuple[bytes, bytes], frozenset[str]] = {}
        self.away = self.closed = False
        self.free, self.pruned, self.failed = (threading.Event() for _ in range(3))
        self.free.set()
        self.reads = 0

    def known(self, session: bytes, names: Sequence[bytes]) -> Mapping[bytes, frozenset[str]]:
        self.reads += 1
        self._check()
        return {name: self.rows[session, name] for name in names if (session, name) in self.rows}

    def keep(self, rows: Sequence[ToolRow]) -> Sequence[frozenset[str]]:
        self.free.wait(5)
        self._check()
        for row in rows:
            if row.replaces or (row.session, row.name) not in self.rows:
                self.rows[row.session, row.name] = row.digests
        return [self.rows[row.session, row.name] for row in rows]

    def keep_now(self, rows: Sequence[ToolRow]) -> Sequence[frozenset[str]] | None:
        return self.keep(rows) if self.free.is_set() else None

    def prune(self) -> None:
        self._check()
        self.pruned.set()

    def close(self) -> None:
        self.closed = True

    def _check(self) -> None:
        if self.away:
            self.failed.set()
            raise StorageUnavailable("the disk is away, says the test")


class Learnt:
    """What a worker was told that it does not know right."""

    def __init__(self) -> None:
        self.told: list[Digests] = []
        self.happened = threading.Event()

    def __call__(self, digests: Digests) -> None:
        self.told.append(digests)
        self.happened.set()


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def share(store: Store) -> Iterator[Callable[[], SharedTools]]:
    opened: list[SharedTools] = []

    def begin() -> SharedTools:
        opened.append(SharedTools(lambda: store, secret=b"s" * 32, rest=0.001))
        return opened[-1]

    yield begin
    store.free.set()
    for one in opened:
        one.close()


def nothing(digests: Digests) -> None:
    raise AssertionError(digests)


def test_what_one_worker_keeps_another_knows(share: Callable[[], SharedTools]) -> None:
    one, two = share(), share()
    one.keep(KEY, {"a": ONE, "b": ONE | TWO}, {}, nothing)
    assert two.known(KEY, ["a", "b", "c"]) == {"a": ONE, "b": ONE | TWO}
    assert two.known((*KEY[:2], "session-8", KEY[3]), ["a"]) == {}
    two.keep(KEY, {}, {"a": TWO}, nothing)
    assert one.known(KEY, ["a"]) == {"a": TWO}


def test_who_comes_second_learns_what_was_first(share: Callable[[], SharedTools]) -> None:
    one, two, learnt = share(), share(), Learnt()
    one.keep(KEY, {"a": ONE}, {}, nothing)
    two.keep(KEY, {"a": TWO, "b": TWO}, {}, learnt)
    assert learnt.told == [{"a": ONE}]


def test_what_waits_is_known_here_and_kept_later(
    share: Callable[[], SharedTools], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two, learnt = share(), share(), Learnt()
    two.keep(KEY, {"b": ONE}, {}, nothing)
    store.free.clear()
    one.keep(KEY, {"a": ONE}, {}, learnt)
    monkeypatch.setattr(store, "keep_now", store.keep)  # free again, while the thread still writes
    one.keep(KEY, {"b": TWO}, {"a": TWO}, learnt)
    assert one.known(KEY, ["a", "b"]) == {"a": TWO, "b": TWO}
    assert two.known(KEY, ["a"]) == {}
    store.free.set()
    assert learnt.happened.wait(5)
    assert learnt.told == [{"b": ONE}]
    one.close()
    assert two.known(KEY, ["a", "b"]) == {"a": TWO, "b": ONE}


def test_a_store_that_is_away_is_told_once_and_tried_again(
    share: Callable[[], SharedTools], store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    shared, learnt = share(), Learnt()
    assert store.pruned.wait(5)
    store.pruned.clear()
    store.away = True
    shared.keep(KEY, {"a": ONE}, {}, learnt)
    for _ in range(3):
        store.failed.clear()
        assert store.failed.wait(5)
    assert shared.known(KEY, ["a", "b"]) == {"a": ONE}
    assert store.reads == 0
    assert shared.counts == {"shared_tools{unavailable}": 1}
    (warning,) = caplog.messages
    assert "the disk is away" in warning
    store.away = False
    assert store.pruned.wait(5)
    shared.close()
    assert [*store.rows.values()] == [ONE]


def test_a_store_that_cannot_be_opened_is_tried_again(store: Store) -> None:
    tries: list[int] = []

    def opened() -> Store:
        tries.append(1)
        if len(tries) < 3:
            raise StorageUnavailable("no disk, says the test")
        return store

    shared = SharedTools(opened, secret=b"s" * 32, rest=0.001)
    shared.keep(KEY, {"a": ONE}, {}, nothing)
    assert store.pruned.wait(5)
    shared.close()
    assert [*store.rows.values()] == [ONE]
    assert store.closed
    assert len(tries) == 3


def test_what_waits_and_what_is_shared_are_bounded(
    share: Callable[[], SharedTools], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_WAITING", 2)
    monkeypatch.setattr(module, "MAX_TOOLS", 3)
    many = frozenset(str(number) for number in range(MAX_DIGESTS + 1))
    shared = share()
    shared.keep(KEY, {"many": many, **dict.fromkeys("abcd", ONE)}, {}, nothing)
    assert shared.known(KEY, ["many", "d"]) == {}
    assert shared.known(KEY, [*"abc"]) == dict.fromkeys("abc", ONE)
    store.free.clear()
    shared.keep(KEY, {"e": ONE, "f": ONE}, {}, nothing)
    shared.keep(KEY, {"g": ONE}, {}, nothing)
    assert shared.known(KEY, ["e", "f", "g"]) == {"e": ONE, "f": ONE}
    assert shared.counts == {"shared_tools{not_shared}": 1}


def test_what_was_kept_is_pruned_now_and_then(
    share: Callable[[], SharedTools], store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PRUNE_AFTER", 3)
    shared = share()
    assert store.pruned.wait(5), "at the start"
    store.pruned.clear()
    shared.keep(KEY, {"a": ONE, "b": ONE}, {}, nothing)
    assert not store.pruned.is_set()
    shared.keep(KEY, {"c": ONE}, {}, nothing)
    assert store.pruned.wait(5)


def test_the_file_tells_no_names(tmp_path: Path) -> None:
    path = tmp_path / "limits.sqlite"
    shared = SharedTools(lambda: SqliteTools(SharedSqliteFile(path), run=b"run"), secret=b"s" * 32)
    shared.keep(KEY, {"send_wire_transfer": ONE, "\ud800": ONE}, {}, nothing)
    assert shared.known(KEY, ["send_wire_transfer", "\ud800"]).keys() == {
        "send_wire_transfer",
        "\ud800",
    }
    shared.close()
    content = b"".join(one.read_bytes() for one in tmp_path.iterdir())
    assert next(iter(ONE)).encode() in content
    for word in (*KEY[:3], "send_wire"):
        assert word.encode() not in content
