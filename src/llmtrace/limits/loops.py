"""Tells from a request whether an agent's tools run in circles: what it sends repeats itself.

An agent re-sends its history on every turn, so the tool calls and their results stand in the
request itself. Only the end of it is read, from the last step backwards, and no further than it
repeats: two or three steps where all is well.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Final

import orjson

from llmtrace.providers.base import Json

MAX_STEPS: Final = 60
"""Steps that are looked back at most."""
MAX_PERIOD: Final = 3
"""Most steps of a circle: A-A-A, A-B-A-B, A-B-C-A-B-C."""
MAX_MESSAGES: Final = 512
MAX_ITEMS: Final = 64
"""Calls and results of one message that are read; what is beyond tells nothing apart."""
MAX_READ: Final = 1_024
"""Calls and results of one request that are read."""
MAX_NESTED: Final = 2
MAX_NAME: Final = 64

_CALLS: Final = ("tool_calls", "function_call", "toolUse", "functionCall")
_RESULTS: Final = ("toolResult", "functionResponse")
_INSIDE: Final = ("content", "parts")
_IDS: Final = frozenset({"id", "call_id", "tool_use_id", "toolUseId", "tool_call_id", "index"})
_MARKS: Final = frozenset({"cache_control", "cachePoint", "status", "thoughtSignature"})
"""Members that change from turn to turn, and say nothing of what was done."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Loop:
    """How often the last steps of a conversation were the same.

    ``times`` counts rounds of ``period`` steps; ``tool`` is the tool of the last step, and
    ``step`` the digest of its calls and results.
    """

    times: int = 0
    period: int = 0
    tool: str = ""
    step: str = ""


NO_LOOP: Final = Loop(times=1, period=1)


@dataclass(slots=True)
class Step:
    """Tool calls of one turn, and their results."""

    calls: list[Json]
    results: list[Json]

    @property
    def tool(self) -> str:
        """The name of the first tool."""
        for call in self.calls:
            if isinstance(call, dict):
                inner = call.get("function") or call.get("custom")
                name = call.get("name") or (inner.get("name") if isinstance(inner, dict) else "")
                return str(name or call.get("type") or "")[:MAX_NAME]
        return ""

    @property
    def digest(self) -> str:
        """Names it, whatever order its members are in."""
        return digest_of([self.calls, self.results])


def digest_of(value: object) -> str:
    """Return a digest of a JSON value, 24 hex digits."""
    try:
        data = orjson.dumps(value, option=orjson.OPT_SORT_KEYS, default=str)
    except TypeError:  # counts beyond 64 bits, lone surrogates
        data = json.dumps(value, sort_keys=True, default=str).encode("ascii")
    return hashlib.sha256(data).hexdigest()[:24]


def loop_of(body: Json) -> Loop:
    """Return how often the last steps of a request's history were the same."""
    steps: list[Step] = []
    alive = set(range(1, MAX_PERIOD + 1))
    lengths = dict.fromkeys(alive, 0)
    for step in islice(_steps(_history(body)), MAX_STEPS):
        for period in sorted(alive):
            if len(steps) < period or steps[-period] == step:
                lengths[period] += 1
            else:
                alive.discard(period)
        steps.append(step)
        if not alive:
            break
    if not steps:
        return NO_LOOP
    rounds = {period: length // period for period, length in lengths.items()}
    period = max(rounds, key=lambda period: (rounds[period], -period))
    if rounds[period] < 2:
        return NO_LOOP
    return Loop(
        times=rounds[period],
        period=period,
        tool=steps[0].tool,
        step=digest_of(sorted(step.digest for step in steps[:period])),
    )


def results_of(body: Json) -> str:
    """Return the digest of the tool results that a request ends with, empty if with none."""
    step = next(_steps(_history(body), open_=True), None)
    return digest_of(step.results) if step is not None and step.results else ""


def _history(body: Json) -> Sequence[Json]:
    """Return the messages of a request, whatever its dialect calls them."""
    if not isinstance(body, dict):
        return ()
    inner = body.get("request")
    for fields in (body, inner if isinstance(inner, dict) else {}):
        for name in ("messages", "input", "contents"):
            found = fields.get(name)
            if isinstance(found, list):
                return found
    return ()


def _steps(messages: Sequence[Json], *, open_: bool = False) -> Iterator[Step]:
    """Go back through the steps, the last one first, as far as nobody said something else.

    With ``open_`` the first may be results alone, whose calls are not in the request.
    """
    step, read = Step([], []), 0
    for message in islice(reversed(messages), MAX_MESSAGES):
        calls, results, words = _read(message)
        read += len(calls) + len(results)
        if read > MAX_READ:
            return
        if results:
            if step.calls:
                yield step
                step = Step([], [])
            step.results[:0] = results
        if calls:
            step.calls[:0] = calls
        elif words and not results:
            break
    if step.calls or (open_ and step.results):
        yield step


def _read(message: Json) -> tuple[list[Json], list[Json], bool]:
    """Return the calls and results of a message, and whether a person said something in it."""
    calls: list[Json] = []
    results: list[Json] = []
    if not isinstance(message, dict):
        return calls, results, bool(message)
    words = message.get("role") in ("user", "human")
    if message.get("role") in ("tool", "function"):
        return calls, [_bare(message)], False
    for item in _items(message):
        kind = item.get("type")
        kind = kind if isinstance(kind, str) else ""
        if kind.endswith(("tool_result", "_call_output")):
            results.append(_bare(item))
        elif kind.endswith(("tool_use", "_call")):
            calls.append(_bare(item))
        else:
            calls += [_bare(value) for name in _CALLS for value in _listed(item.get(name))]
            results += [_bare(value) for name in _RESULTS for value in _listed(item.get(name))]
    return calls, results, words


def _items(message: dict[str, Json]) -> Iterator[dict[str, Json]]:
    yield message
    for name in _INSIDE:
        for item in _listed(message.get(name)):
            if isinstance(item, dict):
                yield item


def _listed(value: Json) -> list[Json]:
    if isinstance(value, list):
        return value[:MAX_ITEMS]
    return [value] if isinstance(value, dict) else []


def _bare(value: Json, nested: int = MAX_NESTED) -> Json:
    """Leave out of a call or result what differs each time: its ids, and marks of the client."""
    if not isinstance(value, dict):
        return value
    left_out = _IDS | _MARKS
    bare = {name: item for name, item in value.items() if name not in left_out}
    content = bare.get("content")
    if isinstance(content, list) and nested:
        bare["content"] = [_bare(item, nested - 1) for item in content[:MAX_ITEMS]]
    return bare
