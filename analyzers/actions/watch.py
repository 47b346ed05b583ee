"""Remembers the tools that agents were offered, so that a changed description shows."""

from collections import OrderedDict
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from threading import Lock
from typing import Final, Protocol

MAX_KEYS: Final = 4096
MAX_TOOLS: Final = 1024

type Key = tuple[str, ...]
type Digests = Mapping[str, frozenset[str]]
"""Name of a tool → SHA-256 over each definition that it has."""


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


class Shelf(Protocol):
    """What all workers of a gateway know of tools. Nothing here raises, or waits for long."""

    def known(self, key: Key, names: Collection[str]) -> Digests:
        """Return what was last let through of these, as far as it is known and can be told."""
        ...

    def keep(
        self, key: Key, new: Digests, changed: Digests, learn: Callable[[Digests], None]
    ) -> None:
        """Keep what was let through, now or soon.

        Of ``new`` ones the first that comes is kept: ``learn`` is told, now or from another
        thread, which were there already, and as what.
        """
        ...


class ToolWatch:
    """Knows, per key (tenant, agent, session), the digests last let through of each tool.

    To ask (``changed``) and to remember (``remember``) are apart: what was refused must not
    become what is known, or the same call would pass when it is sent again.

    Bounded: the key that was used least recently is forgotten first, and of one key no more than
    ``max_tools`` names are remembered. Safe to share between threads.

    ``shelf`` is what other workers know too. It is asked for tools that are not known here, or
    are not what is known here, and told where that changes: seldom, in a session that goes on.
    """

    def __init__(
        self,
        *,
        max_keys: int = MAX_KEYS,
        max_tools: int = MAX_TOOLS,
        shelf: Shelf | None = None,
    ) -> None:
        self._max_keys, self._max_tools = max_keys, max_tools
        self._seen: OrderedDict[Key, OrderedDict[str, frozenset[str]]] = OrderedDict()
        self._lock = Lock()
        self._shelf = shelf

    def changed(self, key: Key, tools: Sequence[Offered]) -> list[str]:
        """Return the names whose digest is not what is remembered of them.

        A name that is offered more than once in a call has more than one digest; each that was
        not there before is a change.
        """
        offered = _digests(tools)
        known = self._known(key, offered)
        unsure = [name for name, now in offered.items() if not now <= known.get(name, frozenset())]
        if unsure and self._shelf is not None and (told := self._shelf.known(key, unsure)):
            self._learn(key, told)
            known |= told
        return [name for name in unsure if not offered[name] <= known.get(name, offered[name])]

    def remember(self, key: Key, tools: Sequence[Offered]) -> None:
        """Take the tools of a call that was let through as what they are from now on."""
        new: dict[str, frozenset[str]] = {}
        changed: dict[str, frozenset[str]] = {}
        with self._lock:
            known = self._used(key)
            for name, now in _digests(tools).items():
                if (was := known.get(name)) is None:
                    new[name] = known[name] = now
                elif not now <= was:
                    changed[name] = known[name] = now
                known.move_to_end(name)
            self._trim(known)
        if self._shelf is not None and (new or changed):
            self._shelf.keep(key, new, changed, partial(self._learn, key))

    def _known(self, key: Key, names: Collection[str]) -> dict[str, frozenset[str]]:
        with self._lock:
            known = self._used(key) if key in self._seen else {}
            return {name: known[name] for name in names if name in known}

    def _learn(self, key: Key, digests: Digests) -> None:
        """Take from the shelf what tools are."""
        with self._lock:
            known = self._used(key)
            known.update(digests)
            self._trim(known)

    def _used(self, key: Key) -> OrderedDict[str, frozenset[str]]:
        known = self._seen.setdefault(key, OrderedDict())
        self._seen.move_to_end(key)
        return known

    def _trim(self, known: OrderedDict[str, frozenset[str]]) -> None:
        while len(known) > self._max_tools:
            known.popitem(last=False)
        while len(self._seen) > self._max_keys:
            self._seen.popitem(last=False)


def _digests(tools: Sequence[Offered]) -> dict[str, frozenset[str]]:
    offered: dict[str, set[str]] = {}
    for tool in tools:
        offered.setdefault(tool.name, set()).add(tool.digest)
    return {name: frozenset(digests) for name, digests in offered.items()}
