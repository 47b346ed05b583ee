"""The way to Redis: short timeouts, scripts by their hash, failures that say what to do."""

import hashlib
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from typing import Any, Final

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    ConnectionError,
    MovedError,
    NoPermissionError,
    NoScriptError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
)
from redis.retry import Retry

from llmtrace.storage.base import StorageUnfit
from llmtrace.storage.ledger import LedgerUnavailable
from llmtrace.storage.ledger_clock import Clock, ServerClock, SteadyClock, system_clock

logger = logging.getLogger(__name__)

TIMEOUT_SECONDS: Final = 0.05
"""How long a call waits for Redis: for a connection, and for an answer."""

LIST_SECONDS: Final = 2.0
"""The same for lists, which no call to a provider waits for."""

_REMEDIES: Final[Sequence[tuple[type[Exception], str]]] = (
    (AuthenticationError, "check the name and password in the URL"),
    (BusyLoadingError, "it is still reading its file; it answers soon"),
    (ReadOnlyError, "it is a replica; set the address of the primary"),
    (OutOfMemoryError, "its memory is full; raise maxmemory"),
    (NoPermissionError, "its user may not do this; allow it all commands on keys of the prefix"),
    (MovedError, "it is part of a cluster; set the address of a proxy, or of a Redis by itself"),
    (TimeoutError, "it takes too long to answer; look at its load and at the way there"),
    (ConnectionError, "it cannot be reached; start it, or check the address"),
    (OSError, "it cannot be reached; start it, or check the address"),
)
_CODES: Final[Mapping[str, str]] = {
    "BUSY": "a script of someone else blocks it",
    "CLUSTERDOWN": "its cluster is down",
    "MISCONF": "it cannot write its file; look at its disk",
}


type Argument = str | bytes | int
type Job = tuple[str, Sequence[str], Sequence[Argument]]
"""A script, its keys and its arguments."""


class Unsuitable(LedgerUnavailable, StorageUnfit):
    """Redis may forget what was spent. The message says which setting to change."""


class RedisLink:
    """Runs scripts on one Redis. Safe to share between threads and with forked processes.

    ``url`` is ``redis://[USER:PASSWORD@]HOST:PORT/DB``, ``rediss://…`` or ``unix://PATH``. With
    ``clock`` the scripts go by it instead of the time of the server.

    Raises:
        ValueError: The URL is none.
        Unsuitable: Redis answers, and evicts keys when its memory is full.
    """

    def __init__(
        self, url: str, *, timeout: float = TIMEOUT_SECONDS, clock: Clock | None = None
    ) -> None:
        self._fast = connect(url, timeout)
        self._slow = connect(url, max(timeout, LIST_SECONDS))
        self.name = name_of(self._fast)
        self._timeout = timeout
        self._given = None if clock is None else SteadyClock(clock)
        self._server = ServerClock(system_clock)
        self._steady = SteadyClock(self._server)
        self._checked = False
        self._closed = False
        self.now()  # a given clock is remembered from here on
        try:
            self._check()
        except Unsuitable:
            self.close()
            raise
        except LedgerUnavailable as error:
            logger.warning("%s; it is asked again with each call", error)

    def now(self) -> int:
        """Return the time of the server in microseconds, without asking it."""
        if self._given is not None:
            return self._given.read()
        return self._steady.read() if self._server.told else self._server()

    def run(
        self, script: str, keys: Sequence[str], *args: Argument, slow: bool = False
    ) -> tuple[int, list[Any]]:
        """Run a script; return its time and the rest of its answer.

        Raises:
            LedgerUnavailable: It failed, or nobody knows whether it ran.
        """
        if not self._checked:
            self._check()
        client = self._slow if slow else self._fast
        with self._translated():
            answer = _evaluate(client, script, keys, (*self._times(), *args))
        return self._told(answer)

    def run_all(self, jobs: Sequence[Job]) -> list[tuple[int, list[Any]]]:
        """Run scripts in their order, in one trip; each may be run again if Redis forgot one.

        Raises:
            LedgerUnavailable: One failed; the others may have run all the same.
        """
        if not self._checked:
            self._check()
        jobs = [(script, keys, (*self._times(), *args)) for script, keys, args in jobs]
        with self._translated():
            try:
                answers = _evaluate_all(self._fast, jobs)
            except NoScriptError:
                answers = [_evaluate(self._fast, *job) for job in jobs]
        return [self._told(answer) for answer in answers]

    def ask(self, what: Callable[["Redis"], Any], *, slow: bool = False) -> Any:
        """Ask for something that is no script. Raises: LedgerUnavailable."""
        if not self._checked:
            self._check()
        with self._translated():
            return what(self._slow if slow else self._fast)

    def close(self) -> None:
        """Close the connections."""
        self._closed = True
        self._fast.close()
        self._slow.close()

    def _times(self) -> tuple[str, int]:
        return ("" if self._given is None else str(self._given.read())), self._server.seen

    def _told(self, answer: Sequence[Any]) -> tuple[int, list[Any]]:
        now, *rest = answer
        if self._given is None:
            self._server.observe(int(now))
        return int(now), rest

    def _check(self) -> None:
        """Refuse a Redis that evicts: that would set budgets back to nothing."""
        with self._translated():
            info = self._fast.info()
            seconds, microseconds = self._fast.time()
        policy = info.get("maxmemory_policy", "unknown")
        if policy != "noeviction":
            raise Unsuitable(
                f"{self.name}: maxmemory-policy is {policy!r}, expected 'noeviction', or it may "
                "forget what was spent; set it in redis.conf or by CONFIG SET"
            )
        if not info.get("aof_enabled"):
            logger.warning(
                "%s: appendonly is off: after a restart spending is known from the traces only",
                self.name,
            )
        if self._given is None:
            self._server.observe(int(seconds) * 1_000_000 + int(microseconds))
        self._checked = True

    @contextmanager
    def _translated(self) -> Iterator[None]:
        if self._closed:
            raise LedgerUnavailable(f"{self.name}: the ledger is closed")
        try:
            yield
        except (RedisError, OSError) as error:
            self._checked = False  # it may be another server, or have other settings, next time
            raise LedgerUnavailable(f"{self.name}: {remedy_of(error)}") from None


def connect(url: str, timeout: float, *, text: bool = True) -> "Redis":
    """Return a client that waits no longer than ``timeout`` seconds for a connection or an answer.

    Nothing is sent before it is asked. Without ``text`` answers are bytes.

    Raises:
        ValueError: The URL is none.
    """
    try:
        client = Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            decode_responses=text,
            protocol=2,
            # a connection that went stale since the last call is made anew once; no waiting
            retry=Retry(NoBackoff(), 1, supported_errors=(ConnectionError,)),
        )
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # refuses options it does not know
    except (ValueError, TypeError, AttributeError):
        raise ValueError(
            "no URL of a Redis; expected redis://[USER:PASSWORD@]HOST:PORT/DB, rediss://… or "
            "unix://PATH"
        ) from None
    return client


def name_of(client: "Redis") -> str:
    """Return where a client's Redis is, without its password."""
    known = client.connection_pool.connection_kwargs
    place = known.get("path") or f"{known.get('host', 'localhost')}:{known.get('port', 6379)}"
    return f"redis at {place}, database {known.get('db', 0)}"


def _evaluate(client: "Redis", script: str, keys: Sequence[str], args: Sequence[Argument]) -> Any:
    try:
        return client.evalsha(_sha(script), len(keys), *keys, *args)
    except NoScriptError:
        return client.eval(script, len(keys), *keys, *args)  # also kept for the next time


def _evaluate_all(client: "Redis", jobs: Sequence[Job]) -> list[Any]:
    if len(jobs) == 1:  # a pipeline of one costs a tenth more
        return [_evaluate(client, *jobs[0])]
    with client.pipeline(transaction=False) as pipeline:
        for script, keys, args in jobs:
            pipeline.evalsha(_sha(script), len(keys), *keys, *args)
        answers = pipeline.execute(raise_on_error=False)
    failures = [answer for answer in answers if isinstance(answer, Exception)]
    for failure in sorted(failures, key=lambda each: not isinstance(each, NoScriptError)):
        raise failure
    return answers


@cache
def _sha(script: str) -> str:
    return hashlib.sha1(script.encode(), usedforsecurity=False).hexdigest()


def remedy_of(error: Exception) -> str:
    """Return what failed and what to do; never the text of the error, which may quote a key."""
    for known, remedy in _REMEDIES:
        if isinstance(error, known):
            return f"{remedy} ({type(error).__name__})"
    code = str(error).partition(" ")[0]
    if isinstance(error, ResponseError) and code in _CODES:
        return f"{_CODES[code]} ({code})"
    return f"the script failed ({type(error).__name__}); expected Redis 6 or later"
