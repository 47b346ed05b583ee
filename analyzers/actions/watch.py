"""Remembers the tools that agents were offered, so that a changed description shows."""

from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Final, Protocol

MAX_KEYS: Final = 4096
MAX_TOOLS: Final = 1024


class Offered(Protocol):
    """A tool as a request offers it (``ToolDefinition``)."""

    @property
    def name(self) -> str:
        """What it is called by."""
        ...

    @property
    def digest(self) -> str:
        """SHA-256 over its definition."""
        ...


class ToolWatch:
    """Knows, per key (tenant, agent, session), the digests last let through of each tool.

    To ask (``changed``) and to remember (``remember``) are apart: what was refused must not
    become what is known, or the same call would pass when it is sent again.

    Bounded: the key that was used least recently is forgotten first, and of one key no more than
    ``max_tools`` names are remembered. Safe to share between threads.
    """

    def __init__(self, *, max_keys: int = MAX_KEYS, max_tools: int = MAX_TOOLS) -> None:
        self._max_keys, self._max_tools = max_keys, max_tools
        self._seen: OrderedDict[tuple[str, ...], OrderedDict[str, frozenset[str]]] = OrderedDict()
        self._lock = Lock()

    def changed(self, key: tuple[str, ...], tools: Sequence[Offered]) -> list[str]:
        """Return the names whose digest is not what is remembered of them.

        A name that is offered more than once in a call has more than one digest; each that was
        not there before is a change.
        """
        offered = _digests(tools)
        with self._lock:
            known = self._seen.get(key)
            if known is None:
                return []
            self._seen.move_to_end(key)
            return [name for name, now in offered.items() if not now <= known.get(name, now)]

    def remember(self, key: tuple[str, ...], tools: Sequence[Offered]) -> None:
        """Take the tools of a call that was let through as what they are from now on."""
        offered = _digests(tools)
        with self._lock:
            known = self._seen.setdefault(key, OrderedDict())
            self._seen.move_to_end(key)
            for name, now in offered.items():
                if not now <= known.get(name, frozenset()):
                    known[name] = frozenset(now)
                known.move_to_end(name)
            while len(known) > self._max_tools:
                known.popitem(last=False)
            while len(self._seen) > self._max_keys:
                self._seen.popitem(last=False)


def _digests(tools: Sequence[Offered]) -> dict[str, set[str]]:
    offered: dict[str, set[str]] = {}
    for tool in tools:
        offered.setdefault(tool.name, set()).add(tool.digest)
    return offered
