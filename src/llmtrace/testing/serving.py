"""What the scripted provider's transports share: calls as received, plans, and their pace."""

import asyncio
import contextlib
import hashlib
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final, Protocol
from urllib.parse import parse_qsl, unquote

from llmtrace.testing.misbehaving import BODY_MODES, MODES
from llmtrace.testing.script import Script
from llmtrace.testing.wire import Headers, Reply, Request

_TICK: Final = 0.01
_HOLD_SECONDS: Final = 60.0
MAX_HEAD: Final = 1024 * 1024
MAX_BODY: Final = 256 * 1024 * 1024
"""Bounds, in bytes, on what a client may send."""


@dataclass(slots=True, kw_only=True)
class Call:
    """What the provider received, and when it sent each chunk of the answer.

    ``protocol`` is ``http/1.1``, ``h2`` or ``websocket`` (where one message is one call);
    ``target`` is the request target as it came, ``headers`` have the case and order they came
    in, ``body`` is what is left after transfer coding. Times are of ``time.monotonic``.
    """

    number: int
    connection: int
    protocol: str
    method: str
    target: str
    headers: Headers
    body: bytes
    sni: str = ""
    dialect: str = ""
    scripted: bool = False
    """Whether this was a model call, not a model list, a token count or an upgrade."""
    received_at: float = field(default_factory=time.monotonic)
    sent_at: list[float] = field(default_factory=list)
    outcome: str = "open"
    """open, done, client_left or misbehaved."""

    @property
    def sha256(self) -> str:
        """Hex digest of the body."""
        return hashlib.sha256(self.body).hexdigest()

    @property
    def path(self) -> str:
        """The target's path, decoded, without the query."""
        return unquote(split_target(self.target)[0])

    def header(self, name: str) -> str | None:
        """Return the first value of a header, whatever its case."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Plan:
    """What to answer a call: a reply, and the script it was made from."""

    call: Call
    reply: Reply
    script: Script


class Desk(Protocol):
    """Where connections bring what they received, and learn what to answer."""

    def plan(self, call: Call) -> Plan:
        """Record an HTTP request and return its answer."""
        ...

    @property
    def gate(self) -> "Gate":
        """What held streams wait for."""
        ...


class Gate:
    """Lets held streams go on. Belongs to one event loop."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    def open(self) -> None:
        """Let all streams that wait now go on."""
        self._opened.set()
        self._opened = asyncio.Event()

    def ticket(self) -> asyncio.Event:
        """Return what the next ``open`` sets, whether somebody waits for it by then or not."""
        return self._opened

    async def wait(self, opened: asyncio.Event, gone: Callable[[], bool]) -> None:
        """Wait for a ticket, but not longer than a minute or than the client stays."""
        ends = time.monotonic() + _HOLD_SECONDS
        while not gone() and time.monotonic() < ends:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(opened.wait(), _TICK)
                return


def split_target(target: str) -> tuple[str, str]:
    """Return path and query of a request target, in origin or absolute form."""
    if target.startswith(("http://", "https://")):
        target = "/" + target.split("/", 3)[3] if target.count("/") > 2 else "/"
    path, _, query = target.partition("?")
    return path, query


def request_of(call: Call, identity: str) -> Request:
    """Return the request that a call carries, as dialects read it."""
    path, query = split_target(call.target)
    return Request(
        method=call.method,
        path=unquote(path),
        id=identity,
        query=dict(parse_qsl(query, keep_blank_values=True)),
        headers={name.lower(): value for name, value in call.headers},
        body=call.body,
    )


def spoiled(reply: Reply, script: Script) -> Reply:
    """Return a reply as a script's body mode leaves it.

    Raises:
        ValueError: There is no mode of that name.
    """
    if not script.misbehave:
        return reply
    if script.misbehave not in MODES:
        known = ", ".join(sorted(MODES))
        raise ValueError(f"no way to misbehave is called {script.misbehave!r}; known are {known}")
    mode = BODY_MODES.get(script.misbehave)
    return mode(reply, script) if mode else reply


class Left(Exception):
    """The client closed its connection or stream."""


async def play(
    plan: Plan, gate: Gate, send: Callable[[bytes], Awaitable[None]], gone: Callable[[], bool]
) -> None:
    """Send a plan's chunks at its script's pace, and note when each went.

    Raises:
        Left: The client went away first.
    """
    script, deltas = plan.script, 0
    ticket = gate.ticket()  # now: who reads the first delta may open before we wait
    for chunk in plan.reply.chunks:
        if chunk.delta:
            await _pause(script.delay_ms if deltas else script.first_delay_ms, gone)
            if script.hold and deltas == 1:
                await gate.wait(ticket, gone)
            deltas += 1
        if gone():
            raise Left
        plan.call.sent_at.append(time.monotonic())
        await send(chunk.data)
        if plan.reply.streamed:
            await asyncio.sleep(0)  # let the loop notice that the client has left


async def _pause(milliseconds: float, gone: Callable[[], bool]) -> None:
    ends = time.monotonic() + milliseconds / 1000
    while (left := ends - time.monotonic()) > 0:
        if gone():
            raise Left
        await asyncio.sleep(min(left, 0.05))
