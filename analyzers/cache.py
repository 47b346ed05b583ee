"""Remembers what was found in a text: a history that is sent again is not searched again."""

import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Protocol

from llmtrace.analyzers.base import LASTING, Analyzer, Context, Direction, Hit, Inspection

HIT_BYTES: Final = 250
"""About what a hit takes in memory, measured with ``sys.getsizeof`` over its fields."""
ENTRY_BYTES: Final = 300
"""About what an entry takes without its hits: key, list node, inspection."""


LONG: Final = 16 * 1024
"""Characters from which a text takes rules longer than it takes to ask another process for it."""


class Shelf(Protocol):
    """What other processes found in texts. Neither method raises, nor waits for long."""

    def recall(self, keys: Sequence[bytes]) -> Mapping[bytes, Inspection]:
        """Return what is known of these keys; nothing where to ask would hold an event loop."""
        ...

    def keep(self, key: bytes, made: Inspection) -> None:
        """Let others know, some time."""
        ...


@dataclass(frozen=True, slots=True)
class CacheCounts:
    """What a cache did since it was made, and what it holds. ``size`` is in bytes, about."""

    hits: int
    misses: int
    evicted: int
    entries: int
    size: int


class CachedAnalyzer:
    """An analyzer that remembers its results. Safe to share between threads.

    The key is a hash of the text with the context and the analyzer's version, so that other rules
    never answer with old hits; no text is kept. A result that is not complete (a rule ran out of
    time) is not kept. Least recently used entries go first, by ``max_entries`` and ``max_bytes``.
    With a ``shelf``, what took long to find out is shared: ``recall`` asks it.
    """

    def __init__(
        self,
        analyzer: Analyzer,
        *,
        max_entries: int = 50_000,
        max_bytes: int = 32 << 20,
        shelf: Shelf | None = None,
    ) -> None:
        self._analyzer = analyzer
        self._shelf = shelf
        self._max_entries, self._max_bytes = max_entries, max_bytes
        self._entries: OrderedDict[bytes, Inspection] = OrderedDict()
        self._lock = threading.Lock()
        self._hits = self._misses = self._evicted = self._size = 0

    @property
    def name(self) -> str:
        """The name of the analyzer behind it."""
        return self._analyzer.name

    @property
    def version(self) -> str:
        """The version of the analyzer behind it."""
        return self._analyzer.version

    @property
    def counts(self) -> CacheCounts:
        """What it did so far."""
        with self._lock:
            return CacheCounts(
                self._hits, self._misses, self._evicted, len(self._entries), self._size
            )

    def analyze(self, text: str, context: Context) -> Sequence[Hit]:
        """Return the hits, ordered by start. An empty text has none."""
        return self.inspect(text, context).hits

    def inspect(self, text: str, context: Context) -> Inspection:
        """Return the hits and what could not be looked for, from memory where that is known."""
        if not text:
            return Inspection(())
        key = self._key(text, context)
        with self._lock:
            if known := self._entries.get(key):
                self._entries.move_to_end(key)
                self._hits += 1
                return known
            self._misses += 1
        made = self._inspect(text, context)
        if all(one.reason in LASTING for one in made.skipped):
            self._keep(key, made)
            if self._shelf is not None and not made.skipped and self._is_shared(text, context):
                self._shelf.keep(key, made)
        return made

    def recall(self, texts: Sequence[tuple[str, Context]]) -> None:
        """Learn what others found in texts that are about to be inspected, in one trip."""
        if self._shelf is None or self._max_entries <= 0:
            return
        keys = [self._key(*each) for each in texts if each[0] and self._is_shared(*each)]
        with self._lock:
            unknown = [key for key in keys if key not in self._entries]
        if unknown:
            for key, made in self._shelf.recall(unknown).items():
                self._keep(key, made)

    def slow(self, text: str, context: Context) -> bool:
        """Whether the text is not known yet, and takes the analyzer longer than a loop may wait."""
        if not self._is_slow(text, context):
            return False
        key = self._key(text, context)
        with self._lock:
            return key not in self._entries

    def undecided(self, text: str) -> int:
        """Return where the undecided tail begins; all of ``text`` if the analyzer cannot tell."""
        tell: Callable[[str], int] | None = getattr(self._analyzer, "undecided", None)
        return tell(text) if tell else 0

    def _is_slow(self, text: str, context: Context) -> bool:
        tell: Callable[[str, Context], bool] | None = getattr(self._analyzer, "slow", None)
        return tell is not None and tell(text, context)

    def _is_shared(self, text: str, context: Context) -> bool:
        """Whether it is worth a trip. What stands in answers is judged while it comes."""
        takes_long = len(text) >= LONG or self._is_slow(text, context)
        return takes_long and context.direction is Direction.REQUEST

    def _inspect(self, text: str, context: Context) -> Inspection:
        inspect: Callable[[str, Context], Inspection] | None = getattr(
            self._analyzer, "inspect", None
        )
        return (
            inspect(text, context) if inspect else Inspection(self._analyzer.analyze(text, context))
        )

    def _key(self, text: str, context: Context) -> bytes:
        place = f"{self.version}\0{context.role}\0{context.origin}\0{context.direction}\0"
        digest = blake2b(place.encode(), digest_size=20)
        digest.update(text.encode("utf-8", "surrogatepass"))
        return digest.digest()

    def _keep(self, key: bytes, made: Inspection) -> None:
        with self._lock:
            if key in self._entries:
                return  # another thread was first
            size = _size(made)
            if size > self._max_bytes or self._max_entries <= 0:
                return
            self._entries[key] = made
            self._size += size
            while len(self._entries) > self._max_entries or self._size > self._max_bytes:
                _, old = self._entries.popitem(last=False)
                self._size -= _size(old)
                self._evicted += 1


def _size(made: Inspection) -> int:
    return ENTRY_BYTES + HIT_BYTES * len(made.hits)
