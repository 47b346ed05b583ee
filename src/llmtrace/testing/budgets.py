"""Calls whose cost is known to the nano-USD, many of them at once, and what a ledger says then."""

import asyncio
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

import httpx2

from llmtrace.limits.bounds import ROUNDINGS
from llmtrace.limits.desk import LedgerDesk
from llmtrace.storage.ledger import Admission, Admitted, Denied, Ledger, Settlement
from llmtrace.testing.wire import compact

NOON: Final = datetime(2026, 11, 21, 12, tzinfo=UTC)
URL: Final = "https://api.openai.com/v1/chat/completions"
MODEL: Final = "priced-by-output"
OUTPUT_TOKENS: Final = 100
"""Most tokens that each call asks for."""
NANO_PER_TOKEN: Final = 10_000
COST: Final = OUTPUT_TOKENS * NANO_PER_TOKEN
"""What such a call costs at most, in nano-USD: $0.001. What it sends costs nothing."""
RESERVED: Final = COST + ROUNDINGS
"""What is set aside for it."""
PRICES: Final[Mapping[str, Any]] = {
    "custom_models": {MODEL: {"input_per_million": 0, "output_per_million": 10}}
}


def room_for(calls: float, **more: Any) -> dict[str, Any]:
    """Return the configuration of a budget with room for so many calls at once, for each agent."""
    cap = {"window": "daily", "hard_limit_usd": f"{calls * RESERVED / 1e9:.9f}"}
    caps = {"enabled": True, "default_budget_caps": [cap | more.pop("cap", {})], **more}
    return {"cost_estimation": PRICES, "cost_caps": caps}


def body(text: str = "hi", *, stream: bool = False, **more: Any) -> dict[str, Any]:
    """Return a call that costs at most ``RESERVED``."""
    message = {"role": "user", "content": text}
    return {
        "model": MODEL,
        "messages": [message],
        "max_tokens": OUTPUT_TOKENS,
        "stream": stream,
        **more,
    }


def answer_of(tokens: int) -> bytes:
    """Return a provider's whole answer to such a call, with so many tokens."""
    usage = {"prompt_tokens": 1, "completion_tokens": tokens}
    choice = {"index": 0, "message": {"content": "x"}, "finish_reason": "stop"}
    return compact({"id": "r", "model": MODEL, "choices": [choice], "usage": usage})


@dataclass(frozen=True, slots=True, kw_only=True)
class Crowd:
    """What became of calls that were made at once."""

    statuses: Counter[int]
    codes: Counter[str] = field(default_factory=Counter)
    headers: Sequence[Mapping[str, str]] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Door:
    """A way in: a proxy, and whom its clients trust."""

    proxy_url: str
    context: ssl.SSLContext

    def client(self, *, http2: bool = False, seconds: float = 30.0) -> httpx2.AsyncClient:
        """Return a client behind it. It has no key, so that all gateways know it by one name."""
        return httpx2.AsyncClient(
            proxy=self.proxy_url,
            verify=self.context,
            trust_env=False,
            timeout=seconds,
            http2=http2,
            headers={"user-agent": "crowd/1"},
            limits=httpx2.Limits(max_connections=None),
        )


async def rush(
    doors: Sequence[Door],
    calls: int,
    *,
    http2: bool = False,
    text: str = "hi",
    stream: bool = False,
) -> Crowd:
    """Make so many calls at once, and return what became of them.

    Over HTTP/2 there are as many connections as a crowd of ten agents would have, else one for
    each call.
    """
    clients = [
        doors[number % len(doors)].client(http2=http2) for number in range(10 if http2 else calls)
    ]
    try:
        answers = await asyncio.gather(
            *(
                clients[number % len(clients)].post(URL, json=body(text, stream=stream))
                for number in range(calls)
            )
        )
    finally:
        await asyncio.gather(*(client.aclose() for client in clients))
    refused = [answer for answer in answers if answer.status_code >= 400]
    return Crowd(
        statuses=Counter(answer.status_code for answer in answers),
        codes=Counter(answer.json()["error"]["code"] for answer in refused),
        headers=[answer.headers for answer in refused],
    )


def totals(ledger: Ledger) -> tuple[int, int]:
    """Return what is spent and reserved over all budgets of nano-USD that a ledger knows."""
    found = [one for one in ledger.current() if one.unit == "usd"]
    return sum(one.spent for one in found), sum(one.reserved for one in found)


async def settled(ledger: Ledger, *, seconds: float = 5.0) -> int:
    """Wait until nothing is reserved any more, and return what is spent, in nano-USD."""
    async with asyncio.timeout(seconds):
        while True:
            spent, reserved = totals(ledger)
            if not reserved:
                return spent
            await asyncio.sleep(0.005)


async def reserving(ledger: Ledger, amount: int, *, seconds: float = 10.0) -> None:
    """Wait until so much is set aside, in nano-USD."""
    async with asyncio.timeout(seconds):
        while True:
            if totals(ledger)[1] >= amount:
                return
            await asyncio.sleep(0.01)


class FakeDesk(LedgerDesk):
    """Answers as it is told, and notes what it is brought."""

    def __init__(self, now: datetime = NOON) -> None:
        self._at = now
        self.answer: Callable[[Admission], Admitted | Denied] = lambda one: Admitted(id=one.id)
        self.asked: list[Admission] = []
        self.settled: list[Settlement] = []
        self.booked: list[tuple[Admission, Settlement]] = []
        self.takes_unbooked = True

    async def admit(self, prepare: Callable[[], Admission | None]) -> Admitted | Denied | None:
        """Note what is asked, and answer."""
        admission = prepare()
        if admission is None:
            return None
        self.asked.append(admission)
        return self.answer(admission)

    def settle(self, settlement: Settlement) -> None:
        """Note it."""
        self.settled.append(settlement)

    def admit_unbooked(self, admission: Admission) -> bool:
        """Say whether calls may go unbooked."""
        return self.takes_unbooked

    def book(self, admission: Admission, settlement: Settlement) -> None:
        """Note it."""
        self.booked.append((admission, settlement))

    def soon(self, errand: Any, told: Any = None) -> bool:
        """Run it at once."""
        made = errand(_OnceLedger())
        if told:
            told(made)
        return True

    def now(self) -> datetime:
        """Return the time that was given."""
        return self._at


class _OnceLedger:
    """Knows no warning yet."""

    def once(self, _key: str, *, ends: datetime | None) -> bool:
        """Whether it has an end: then it is the first time."""
        return ends is not None
