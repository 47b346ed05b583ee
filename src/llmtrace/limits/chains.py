"""Steps of conversations whose history the provider keeps, so that no request has it."""

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

from llmtrace.domain.traces import Trace
from llmtrace.limits.callfacts import CallFacts
from llmtrace.limits.loops import MAX_PERIOD, MAX_STEPS, NO_LOOP, Loop, digest_of

MOST: Final = 10_000


class Recent[K, V](OrderedDict[K, V]):
    """A bounded map; what was put longest ago goes first."""

    def __init__(self, most: int) -> None:
        super().__init__()
        self._most = most

    def put(self, key: K, value: V) -> None:
        """Put a value, as the newest."""
        self[key] = value
        self.move_to_end(key)
        if len(self) > self._most:
            self.popitem(last=False)


@dataclass(frozen=True, slots=True)
class _Chain:
    """What an answer asked for, and the digests of the steps before it, newest first."""

    calls: str
    tool: str
    steps: tuple[str, ...] = ()


class Chains:
    """Puts steps together: what an answer asked for, and the results that a request brings.

    Safe to share between threads.
    """

    def __init__(self, most: int = MOST) -> None:
        self._chains = Recent[str, _Chain](most)
        self._lock = threading.Lock()

    def follow(self, facts: CallFacts, trace: Trace) -> Loop:
        """Take note of a call that has ended; return how often its last steps were the same."""
        with self._lock:
            before = self._chains.get(facts.previous) if facts.previous else None
            steps: tuple[str, ...] = ()
            if before is not None and facts.results:
                steps = (digest_of([before.calls, facts.results]), *before.steps)[:MAX_STEPS]
            if trace.response_id and trace.actions:
                calls = digest_of([[action.name, action.arguments] for action in trace.actions])
                chain = _Chain(calls, trace.actions[0].name, steps)
                self._chains.put(trace.response_id, chain)
        return replace(_run(steps), tool=before.tool) if before is not None else NO_LOOP


def _run(steps: Sequence[str]) -> Loop:
    """Return how often the first of these steps repeat, newest first."""
    best = NO_LOOP
    for period in range(1, MAX_PERIOD + 1):
        length = period
        while length < len(steps) and steps[length] == steps[length - period]:
            length += 1
        if length // period > max(1, best.times):
            step = digest_of(sorted(steps[:period]))
            best = Loop(times=length // period, period=period, step=step)
    return best
