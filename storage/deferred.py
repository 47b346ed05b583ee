"""Answers that come later: begun in the background, and fetched when they are done.

Such an answer may be fetched many times, by any worker, with its usage in each; it is charged
once. So what was begun is kept beside the store, one small file for each answer, and whoever
takes the file is the one to charge. A process that is killed loses none of them. Gateways on many
hosts keep it in their Redis (``redis_deferred``).
"""

import contextlib
import hashlib
import logging
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final, Protocol

import orjson

logger = logging.getLogger(__name__)

MOST: Final = 10_000
"""Answers that are waited for; beyond, the oldest are forgotten and cost nothing."""
KEEP_SECONDS: Final = 31 * 86_400.0
"""How long an answer is waited for: results of batches are kept for 29 days at Anthropic."""
EVERY: Final = 256
"""After how many answers that were begun it is looked what is to be forgotten."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Owed:
    """The reservation of the call that began an answer; ``id`` is empty where there is none."""

    id: str = ""
    tenant: str = ""


class Deferred(Protocol):
    """Remembers the answers whose usage is still to come. Safe to share between threads.

    Both methods may wait for a disk or a server.
    """

    def begin(self, name: str, owed: Owed) -> None:
        """Note an answer that is not there yet. Never fails: it is free then, and logged."""
        ...

    def take(self, name: str) -> Owed | None:
        """Return what is owed for an answer whose usage is told now, to the first who asks.

        None where it was taken before, or was never begun here.
        """
        ...


class MemoryDeferred:
    """Remembers for one process."""

    def __init__(self, size: int = MOST) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._open: OrderedDict[str, Owed] = OrderedDict()

    def begin(self, name: str, owed: Owed) -> None:
        """Note an answer that is not there yet."""
        with self._lock:
            self._open.setdefault(name, owed)
            if len(self._open) > self._size:
                self._open.popitem(last=False)

    def take(self, name: str) -> Owed | None:
        """Return what is owed, to the first who asks."""
        with self._lock:
            return self._open.pop(name, None)


class DeferredFiles:
    """Remembers for all workers of an installation, in a folder that is made when it is needed.

    Args:
        folder: Where the files are.
        size: How many may be there.
        now: Seconds since 1970, as files have them.
    """

    def __init__(
        self, folder: Path, *, size: int = MOST, now: Callable[[], float] = time.time
    ) -> None:
        self._folder = folder
        self._size = size
        self._now = now
        self._begun = 0
        self._pruning = threading.Lock()

    def begin(self, name: str, owed: Owed) -> None:
        """Note an answer that is not there yet."""
        path = self._path(name)
        try:
            self._folder.mkdir(mode=0o700, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                _write(path, owed_out(owed))
        except OSError as error:
            logger.error("%s: an answer to come cannot be noted: %s", path.parent, error.strerror)
            return
        self._begun += 1
        if self._begun % EVERY == 1:
            threading.Thread(target=self.prune, name="deferred", daemon=True).start()

    def take(self, name: str) -> Owed | None:
        """Return what is owed, to the first who asks: to whoever deletes the file."""
        path = self._path(name)
        try:
            content = path.read_bytes()
            path.unlink()
        except FileNotFoundError:
            return None
        except OSError as error:
            logger.error("%s: an answer cannot be looked up: %s", path.parent, error.strerror)
            return None
        return owed_in(content)

    def prune(self) -> None:
        """Forget what nobody fetched, and the oldest where there are too many."""
        try:
            with self._pruning, contextlib.suppress(FileNotFoundError):
                self._forget()
        except OSError as error:
            logger.warning("%s: not looked through: %s", self._folder, error.strerror)

    def _forget(self) -> None:
        aged: list[tuple[float, str]] = []
        with os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # it was taken just now
                    aged.append((entry.stat().st_mtime, entry.path))
        aged.sort(reverse=True)
        before = self._now() - KEEP_SECONDS
        for number, (at, path) in enumerate(aged):
            if number >= self._size or at < before:
                with contextlib.suppress(FileNotFoundError):
                    os.unlink(path)

    def _path(self, name: str) -> Path:
        return self._folder / digest(name)


def digest(name: str) -> str:
    """Return what an answer is known by, whatever its provider calls it."""
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:40]


def owed_out(owed: Owed) -> bytes:
    """Write a note."""
    return orjson.dumps(asdict(owed))


def _write(path: Path, content: bytes) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, content)
    finally:
        os.close(fd)


def owed_in(content: bytes) -> Owed:
    """Read a note; one that was cut short by a crash still says that the answer was begun."""
    try:
        told = orjson.loads(content)
        return Owed(id=str(told["id"]), tenant=str(told["tenant"]))
    except (ValueError, TypeError, KeyError):
        return Owed()
