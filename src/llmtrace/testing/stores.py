"""Every storage profile by name, for suites that run over all of them."""

import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Final

from llmtrace.storage import registry
from llmtrace.storage.base import CacheLayer, Storage
from llmtrace.storage.memory import MemoryCache
from llmtrace.storage.redis_cache import RedisCache
from llmtrace.testing.redis import shared_server

type Open = Callable[[Path], Storage]


def _open(profile: str, folder: Path) -> Storage:
    return registry.build(profile, database_path=folder / "llmtrace.db", synchronous="NORMAL")


STORES: Final[Mapping[str, Open]] = {name: partial(_open, name) for name in registry.PROFILES}
"""Opens the stores of a profile in a folder; whoever opens them closes them."""


def _redis(folder: Path, *, cluster: bool = False) -> CacheLayer:
    url = shared_server(cluster=cluster).url
    return RedisCache(url, prefix=f"{folder}:", timeout=5.0)


CACHES: Final[Mapping[str, Callable[[Path], CacheLayer]]] = {
    "memory": lambda _: MemoryCache(),
    "redis": _redis,
    "redis-cluster": partial(_redis, cluster=True),
}
"""Opens each cache, for the tests of a folder."""

LASTING: Final = ("lite",)
"""The profiles that find again what they kept."""


@contextmanager
def opened(profile: str) -> Iterator[Storage]:
    """Open the stores of a profile in a folder of their own, and leave nothing behind."""
    with tempfile.TemporaryDirectory() as folder:
        storage = STORES[profile](Path(folder))
        try:
            yield storage
        finally:
            registry.close(storage)
