"""What workers know of tools, shared in a store that may be busy or away."""

import hashlib
import hmac
import json
import logging
import threading
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from typing import Final, Protocol

from llmtrace.analyzers.actions.watch import MAX_TOOLS, Digests, Key
from llmtrace.storage.base import StorageError
from llmtrace.storage.sqlite_tools import ToolRow

logger = logging.getLogger(__name__)

REST_SECONDS: Final = 5.0
"""How long a store is left alone that failed."""
CLOSE_SECONDS: Final = 2.0
MAX_WAITING: Final = 10_000
"""Tools that wait to be kept; of more, each worker knows what it has seen itself."""
MAX_DIGESTS: Final = 8
"""Definitions of one name that are shared; a name with more is known to its worker alone."""
AT_ONCE: Final = 500
"""Tools of one transaction: others wait for it."""
PRUNE_AFTER: Final = 5_000
"""Tools that this worker has kept since it last looked for what is to be forgotten."""
_HASH: Final = 16


class ToolStore(Protocol):
    """Keeps what sessions were offered; see ``SqliteTools`` for what each method promises."""

    def known(self, session: bytes, names: Sequence[bytes]) -> Mapping[bytes, frozenset[str]]:
        """Return what is kept of these tools of a session."""
        ...

    def keep(self, rows: Sequence[ToolRow]) -> Sequence[frozenset[str]]:
        """Keep rows, and return what is kept of each from now on."""
        ...

    def keep_now(self, rows: Sequence[ToolRow]) -> Sequence[frozenset[str]] | None:
        """Do as ``keep`` if nobody has to be waited for; None if somebody has to be."""
        ...

    def prune(self) -> None:
        """Delete what is too old, or too much."""
        ...

    def close(self) -> None:
        """Let go of the store."""
        ...


@dataclass(frozen=True, slots=True)
class _Kept:
    """A tool that is to be kept, and who learns what is there already."""

    name: str
    row: ToolRow
    learn: Callable[[Digests], None]


class SharedTools:
    """Shares what was let through with the other workers; a ``Shelf`` of ``ToolWatch``.

    Safe to share between threads; nothing here raises. Names are keyed hashes under the
    installation's secret: the store tells neither sessions nor names of tools.

    What is to be kept is written at once where the store is free. Else it waits for a thread
    that may wait, and can be asked for here meanwhile. A store that fails is left alone, and that
    thread tries it again every ``rest`` seconds.
    """

    def __init__(
        self, open_store: Callable[[], ToolStore], *, secret: bytes, rest: float = REST_SECONDS
    ) -> None:
        self._open = open_store
        self._secret = hmac.digest(secret, b"llmtrace offered tools", hashlib.sha256)
        self._rest = rest
        self._store: ToolStore | None = None
        self._waiting: dict[tuple[bytes, bytes], _Kept] = {}
        self._unpruned = PRUNE_AFTER  # what others left is looked for at the start
        self._counts: Counter[str] = Counter()
        self._why = ""
        self._lock = threading.Lock()
        self._due, self._closing = threading.Event(), threading.Event()
        try:
            self._store = open_store()
        except StorageError as error:
            self._fail(error)
        self._thread = threading.Thread(target=self._run, name="tools", daemon=True)
        self._thread.start()

    # --- for the watch -----------------------------------------------------------------------

    def known(self, key: Key, names: Collection[str]) -> Digests:
        """Return what was last let through of these, as far as it can be told now."""
        session = self._hash(json.dumps(key).encode())
        hashed = {self._name(session, name): name for name in names}
        with self._lock:
            waiting = {one: self._waiting.get((session, one)) for one in hashed}
        found = {kept.name: kept.row.digests for kept in waiting.values() if kept}
        left = [one for one, kept in waiting.items() if kept is None][:MAX_TOOLS]
        if left and self._store is not None and not self._why:
            try:
                kept = self._store.known(session, left)
            except StorageError as error:
                self._fail(error)
            else:
                found |= {hashed[one]: digests for one, digests in kept.items()}
        return found

    def keep(
        self, key: Key, new: Digests, changed: Digests, learn: Callable[[Digests], None]
    ) -> None:
        """Keep what was let through, now or soon."""
        session = self._hash(json.dumps(key).encode())
        some = [
            _Kept(name, ToolRow(session, self._name(session, name), digests, replaces), learn)
            for digests_of, replaces in ((changed, True), (new, False))
            for name, digests in digests_of.items()
            if len(digests) <= MAX_DIGESTS
        ][:MAX_TOOLS]
        if some and not self._kept_now(some):
            self._keep_soon(some)

    # --- for those who look after it ---------------------------------------------------------

    @property
    def counts(self) -> Mapping[str, int]:
        """What went wrong so far, as ``Counters.snapshot`` names it."""
        with self._lock:
            return {f"shared_tools{{{name}}}": count for name, count in self._counts.items()}

    def close(self) -> None:
        """Keep what waits, if that can be done now, and let go of the store."""
        self._closing.set()
        self._due.set()
        self._thread.join(CLOSE_SECONDS)
        if self._store is not None:
            self._store.close()

    # --- keeping ------------------------------------------------------------------------------

    def _kept_now(self, some: Sequence[_Kept]) -> bool:
        if self._store is None or self._why or self._waiting:  # those that wait go first
            return False
        try:
            kept = self._store.keep_now([one.row for one in some])
        except StorageError as error:
            self._fail(error)
            return False
        if kept is None:
            return False
        self._tell(some, kept)
        return True

    def _keep_soon(self, some: Sequence[_Kept]) -> None:
        with self._lock:
            if fits := len(self._waiting) + len(some) <= MAX_WAITING:
                self._waiting |= {(one.row.session, one.row.name): one for one in some}
            else:
                self._counts["not_shared"] += len(some)
        if fits:
            self._due.set()

    def _tell(self, some: Sequence[_Kept], kept: Sequence[frozenset[str]]) -> None:
        for one, digests in zip(some, kept, strict=True):
            if digests != one.row.digests:
                one.learn({one.name: digests})
        self._unpruned += len(some)
        if self._unpruned >= PRUNE_AFTER:
            self._due.set()

    # --- the thread ---------------------------------------------------------------------------

    def _run(self) -> None:
        while not self._closing.is_set():
            if self._why and self._closing.wait(self._rest):
                break
            try:
                self._work_off()
            except StorageError as error:
                self._fail(error)
                continue
            self._due.wait()
            self._due.clear()
        with suppress(StorageError):
            self._flush()

    def _work_off(self) -> None:
        """Do all that is due; where the store had failed, that also shows whether it works."""
        if self._store is None:
            self._store = self._open()
        self._flush()
        if self._why or self._unpruned >= PRUNE_AFTER:
            self._unpruned = 0
            self._store.prune()
        if self._why:
            self._why = ""
            logger.info("tools are compared between workers again")

    def _flush(self) -> None:
        while self._store is not None and self._waiting:
            with self._lock:
                some = dict(islice(self._waiting.items(), AT_ONCE))
            self._tell([*some.values()], self._store.keep([one.row for one in some.values()]))
            with self._lock:
                for name, one in some.items():
                    if self._waiting.get(name) is one:
                        del self._waiting[name]

    def _fail(self, error: StorageError) -> None:
        if self._closing.is_set():
            return
        with self._lock:
            first, self._why = not self._why, str(error)
            self._counts["unavailable"] += first
        if first:
            logger.warning("each worker compares tools by itself for now: %s", error)
        self._due.set()

    # --- names --------------------------------------------------------------------------------

    def _name(self, session: bytes, name: str) -> bytes:
        return self._hash(session + name.encode("utf-8", "surrogatepass"))

    def _hash(self, content: bytes) -> bytes:
        return hmac.digest(self._secret, content, hashlib.sha256)[:_HASH]
