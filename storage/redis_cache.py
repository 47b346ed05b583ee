"""A cache in Redis, for workers and hosts to share: it may forget, and be away, at any time."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final

from redis import Redis
from redis.exceptions import RedisError

from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.redis_link import TIMEOUT_SECONDS, connect, name_of, remedy_of

PREFIX: Final = "llmtrace:cache:"
MAX_VALUE: Final = 64 * 1024
"""Bytes of a value. Larger ones are not kept, and what another has put there is read no further."""


class RedisCache:
    """Keeps bytes in Redis; see ``CacheLayer`` for what each method promises.

    How much there is room for, and what goes first, is Redis' own to say: ``maxmemory`` and
    ``maxmemory-policy allkeys-lru``. Nothing is asked of it before it is needed. Safe to share
    between threads.

    Raises:
        ValueError: The URL is none.
    """

    def __init__(
        self,
        url: str,
        *,
        prefix: str = PREFIX,
        timeout: float = TIMEOUT_SECONDS,
        max_value: int = MAX_VALUE,
    ) -> None:
        self._redis: Redis = connect(url, timeout, text=False)
        self._prefix = prefix
        self._max_value = max_value
        self.name = name_of(self._redis)

    def get(self, key: str) -> bytes | None:
        """Return the value, None if there is none or its time is over."""
        return self.get_many([key])[0]

    def get_many(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        """Return the values in the order of the keys. An empty one counts as none."""
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.getrange(self._prefix + key, 0, self._max_value)
            found: list[bytes] = pipeline.execute()
        return [value if 0 < len(value) <= self._max_value else None for value in found]

    def set(self, key: str, value: bytes, *, ttl_seconds: float) -> None:
        """Keep the value for ``ttl_seconds``; what is too large or empty is not kept."""
        self.set_many({key: value}, ttl_seconds=ttl_seconds)

    def set_many(self, values: Mapping[str, bytes], *, ttl_seconds: float) -> None:
        """Keep all of them, in one trip."""
        milliseconds = round(ttl_seconds * 1000)
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                if milliseconds > 0 and 0 < len(value) <= self._max_value:
                    pipeline.set(self._prefix + key, value, px=milliseconds)
                else:
                    pipeline.delete(self._prefix + key)
            pipeline.execute()

    def invalidate(self, keys: Iterable[str]) -> None:
        """Forget the keys; unknown ones are no error."""
        with self._translated(), self._redis.pipeline(transaction=False) as pipeline:
            for key in keys:
                pipeline.delete(self._prefix + key)
            pipeline.execute()

    def healthy(self) -> bool:
        """Whether Redis answers now."""
        try:
            return bool(self._redis.ping())
        except (RedisError, OSError):
            return False

    def close(self) -> None:
        """Close the connections."""
        self._redis.close()

    @contextmanager
    def _translated(self) -> Iterator[None]:
        try:
            yield
        except (RedisError, OSError) as error:
            raise StorageUnavailable(f"{self.name}: {remedy_of(error)}") from None
