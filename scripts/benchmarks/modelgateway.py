"""What the model costs the gateway: on new texts, where nothing is new, and beside both."""

import http.client
import json
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import batched
from pathlib import Path

from load import payload
from report import Goal, Section, table
from sampling import quantile
from targets import Ours, provider

WITH_MODEL = {"security_analysis.ml_model": "shipped"}
AT_ONCE = 4
"""Connections that bring new texts."""
WARM, TEXTS, ROUNDS = 300, 80, 5
"""Texts before it is measured, for the automata of the rules are built as text comes; texts of a
round; rounds."""
HISTORY = 20_000
"""Bytes of the conversation in which nothing is new."""
LEAST_SHARE, LEAST_UNCHANGED, MOST_MORE_MS = 0.8, 0.95, 5.0
NOTE = """\
One worker, reverse mode, the provider and the client on the same cores. The bare loop reads the
same texts by itself, one after the other, on one thread, in turns with the gateway, which has read
some others before.
"""


class Caller:
    """One kept connection to a gateway."""

    def __init__(self, gateway: Ours) -> None:
        address = gateway.gateway.addresses.reverse if gateway.gateway else ""
        self._http = http.client.HTTPConnection(address, timeout=60)

    def __call__(self, body: bytes) -> float:
        """Send a call; return how long it took, in seconds."""
        began = time.perf_counter()
        head = {"content-type": "application/json", "authorization": "Bearer sk-bench"}
        self._http.request("POST", "/openai/v1/chat/completions", body, head)
        answer = self._http.getresponse()
        answer.read()
        if answer.status != http.HTTPStatus.OK:
            raise RuntimeError(f"the gateway answered {answer.status}")
        return time.perf_counter() - began


def saying(text: str) -> bytes:
    """Return a chat request with one message."""
    return json.dumps(
        {"model": "gpt-4o-mini", "messages": [{"role": "user", "content": text}]}
    ).encode()


@contextmanager
def gateways() -> Iterator[tuple[Ours, Ours]]:
    """Run a gateway with the model and one without, before the same provider."""
    with tempfile.TemporaryDirectory() as folder, provider(Path(folder)) as at:
        made = [Ours(at, Path(folder) / name, 1, more) for name, more in
                (("on", WITH_MODEL), ("off", {}))]  # fmt: skip
        try:
            for one in made:
                one.start()
            yield made[0], made[1]
        finally:
            for one in made:
                one.stop()


def new_texts(
    on: Ours, warm: Sequence[str], rounds: Iterable[Sequence[str]], bare: Callable[[str], object]
) -> tuple[float, float, float]:
    """Return texts a second through the gateway and in the bare loop, and their ratio: medians.

    Both read the texts of each round, in turns; those of ``warm`` come before all.
    """
    callers = threading.local()

    def send(text: str) -> None:
        if not hasattr(callers, "one"):
            callers.one = Caller(on)
        callers.one(saying(text))

    def timed(read: Callable[[Sequence[str]], object], found: Sequence[str]) -> float:
        began = time.perf_counter()
        read(found)
        return len(found) / (time.perf_counter() - began)

    with ThreadPoolExecutor(AT_ONCE) as pool:
        ways = (lambda found: list(pool.map(send, found)), lambda found: list(map(bare, found)))
        ways[0](warm)
        taken: tuple[list[float], list[float]] = ([], [])
        for number, found in enumerate(rounds):
            for which in (0, 1) if number % 2 else (1, 0):
                taken[which].append(timed(ways[which], found))
    ratios = [through / plain for through, plain in zip(*taken, strict=True)]
    return statistics.median(taken[0]), statistics.median(taken[1]), statistics.median(ratios)


def unchanged(on: Ours, off: Ours, rounds: int, seconds: float) -> tuple[float, float]:
    """Return calls a second of a conversation sent again and again: with the model and without."""
    body = payload(HISTORY, stream=False)
    callers = {True: Caller(on), False: Caller(off)}
    rates: dict[bool, list[float]] = {True: [], False: []}
    for one in callers.values():
        one(body)
    for number in range(2 * rounds):
        which = number % 4 in (0, 3)  # on, off, off, on: what drifts hits both
        count, began = 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            callers[which](body)
            count += 1
        rates[which].append(count / (time.perf_counter() - began))
    return quantile(rates[True], 0.5), quantile(rates[False], 0.5)


def beside(on: Ours, found: Sequence[str], calls: int) -> tuple[float, float]:
    """Return the median ms of a call with nothing new: alone, and while new texts are read."""
    body, caller = payload(2_000, stream=False), Caller(on)
    caller(body)
    alone = [caller(body) * 1e3 for _ in range(calls)]
    stop = threading.Event()

    def flood() -> None:
        sender = Caller(on)
        for text in found:
            if stop.is_set():
                return
            sender(saying(text))

    thread = threading.Thread(target=flood)
    thread.start()
    time.sleep(0.2)
    busy = []
    while len(busy) < calls and thread.is_alive():
        busy.append(caller(body) * 1e3)
    stop.set()
    thread.join()
    return quantile(alone, 0.5), quantile(busy, 0.5)


def through(
    texts: Callable[[int, int, int], Sequence[str]], bare: Callable[[str], object], *, quick: bool
) -> Section:
    """Measure all three. ``texts`` makes texts of so many tokens, so many, from a seed."""
    with gateways() as (on, off):
        rows, shares = [], []
        for tokens in (128, 512):
            each = 20 if quick else TEXTS
            found = texts(tokens, WARM + each * ROUNDS, 31)
            ours, plain, share = new_texts(on, found[:WARM], batched(found[WARM:], each), bare)
            shares.append(share)
            what = f"new texts of {tokens} tokens, texts/s"
            rows.append([what, f"{ours:.1f}", f"{plain:.1f} (bare loop)", f"{share:.0%}"])
        with_model, without = unchanged(on, off, 2 if quick else 8, 0.5 if quick else 2.0)
        same = with_model / without
        what = f"{HISTORY:,} bytes, nothing new, calls/s"
        rows.append([what, f"{with_model:.0f}", f"{without:.0f} (no model)", f"{same:.0%}"])
        alone, busy = beside(on, texts(512, 60 if quick else 600, 32), 50 if quick else 500)
        what = "another call, median ms, while 512 tokens at a time are read"
        rows.append([what, f"{busy:.1f}", f"{alone:.1f} (alone)", f"+{busy - alone:.1f}"])
    goals = [
        Goal("gateway: texts/s >= 80 % of the bare loop's", f"{min(shares):.0%}",
             min(shares) >= LEAST_SHARE),
        Goal("gateway: nothing new >= 95 % of calls/s without", f"{same:.0%}",
             same >= LEAST_UNCHANGED),
        Goal("gateway: others <= 5 ms later, median", f"{busy - alone:.1f} ms",
             busy - alone <= MOST_MORE_MS),
    ]  # fmt: skip
    head = ["", "with the model", "beside", ""]
    return Section("Through the gateway", NOTE, "\n" + table(head, rows), goals)
