"""One suite for all stores of sealed values."""

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from llmtrace.storage.sqlite_vault import SqliteVault
from llmtrace.storage.vault import MemoryVault, VaultStore

NOW = 1_000_000.0
STORES: dict[str, Callable[[Path], VaultStore]] = {
    "memory": lambda _: MemoryVault(),
    "sqlite": lambda folder: SqliteVault(folder / "vault.db", clock=lambda: NOW),
}


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VaultStore]:
    opened = STORES[request.param](tmp_path)
    yield opened
    opened.close()


def test_what_was_put_is_there_at_once(store: VaultStore) -> None:
    store.put("acme", "LLMT_A", b"sealed", NOW + 10)
    assert store.get("acme", "LLMT_A", NOW) == b"sealed"


def test_what_was_not_put_is_not_there(store: VaultStore) -> None:
    store.put("acme", "LLMT_A", b"sealed", NOW + 10)
    assert store.get("acme", "LLMT_B", NOW) is None
    assert store.get("other", "LLMT_A", NOW) is None


def test_it_expires_at_its_time(store: VaultStore) -> None:
    store.put("acme", "LLMT_A", b"sealed", NOW + 10)
    assert store.get("acme", "LLMT_A", NOW + 9.9) == b"sealed"
    assert store.get("acme", "LLMT_A", NOW + 10) is None


def test_a_restarted_store_forgets_at_the_same_time(tmp_path: Path) -> None:
    store = STORES["sqlite"](tmp_path)
    store.put("acme", "LLMT_A", b"sealed", NOW + 10)
    store.close()
    store = STORES["sqlite"](tmp_path)
    assert store.get("acme", "LLMT_A", NOW + 9.9) == b"sealed"
    assert store.get("acme", "LLMT_A", NOW + 10) is None
    store.close()


def test_putting_again_gives_it_another_life(store: VaultStore) -> None:
    store.put("acme", "LLMT_A", b"old", NOW + 10)
    store.put("acme", "LLMT_A", b"new", NOW + 20)
    assert store.get("acme", "LLMT_A", NOW + 15) == b"new"


def test_purging_deletes_what_has_expired(store: VaultStore) -> None:
    store.put("acme", "LLMT_A", b"a", NOW + 10)
    store.put("acme", "LLMT_B", b"b", NOW + 30)
    store.purge(NOW + 20)
    assert store.get("acme", "LLMT_B", NOW) == b"b"


def test_any_names_and_bytes_are_kept_apart(store: VaultStore) -> None:
    for tenant in ("", "a'; DROP TABLE vault; --", "ü", "a\0b"):
        store.put(tenant, "LLMT_A", tenant.encode() + b"\0\xff", NOW + 10)
    assert store.get("ü", "LLMT_A", NOW) == "ü".encode() + b"\0\xff"
    assert store.get("a\0b", "LLMT_A", NOW) == b"a\0b\0\xff"


def test_threads_share_it(store: VaultStore) -> None:
    def work(number: int) -> None:
        for index in range(20):
            store.put("acme", f"{number}.{index}", bytes([number, index]), NOW + 10)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert store.get("acme", "3.19", NOW) == bytes([3, 19])
    assert store.get("acme", "0.0", NOW) == bytes([0, 0])


def test_memory_forgets_the_oldest_first() -> None:
    store = MemoryVault(max_entries=2)
    for name in ("a", "b", "a", "c"):
        store.put("acme", name, name.encode(), NOW + 10)
    assert [store.get("acme", name, NOW) for name in "abc"] == [b"a", None, b"c"]


def test_memory_lets_go_of_what_was_purged() -> None:
    store = MemoryVault()
    store.put("acme", "a", b"a", NOW)
    store.purge(NOW + 1)
    assert len(store._kept) == 0
