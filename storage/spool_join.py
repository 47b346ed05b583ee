"""Makes one record of the START and the END of a call, which may lie far apart."""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from llmtrace.domain.traces import NOT_SENT, Body, Outcome, Record, Trace
from llmtrace.storage.codec import decode_record, decode_request
from llmtrace.storage.spool_format import Entry, Flag, Kind
from llmtrace.storage.spool_ledger import Position
from llmtrace.storage.spool_payload import STRIPPED, content, id_text
from llmtrace.storage.spool_reader import Located

MAX_OPEN: Final = 65_536
"""Calls of one worker without an END; the oldest are given up first."""

GATEWAY_DIED: Final = "gateway_died"
END_MISSING: Final = "end_missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A record whose checksum is right and whose content cannot be read."""

    trace_id: str
    content: bytes
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """A call that the store has as pending and that ends here. ``code`` is its error code."""

    trace_id: str
    sent: bool
    code: str


type Item = Record | Unreadable | Lost


@dataclass(slots=True)
class _OpenCall:
    begin: Position
    since: float
    sent: bool
    start: Entry | None
    """None once the store has it."""
    progress: Entry | None = None
    handed_out: bool = field(default=False)

    @property
    def held_bytes(self) -> int:
        return sum(len(each.payload) for each in (self.start, self.progress) if each is not None)


class Joiner:
    """Keeps the STARTs of one worker until their END comes, or until they are shipped alone.

    It holds at most ``max_held_bytes`` of them (and one more): beyond, and after
    ``pending_after`` seconds, a START is shipped as a pending trace, which the store merges
    with the END when that comes.
    """

    def __init__(
        self,
        open_calls: Mapping[str, bool],
        *,
        pending_after: float = 2.0,
        max_held_bytes: int = 32 << 20,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``open_calls`` are those of the ledger: the store has their STARTs."""
        self._pending_after = pending_after
        self._max_held_bytes = max_held_bytes
        self._clock = clock
        self._held = 0
        self._calls = {
            key: _OpenCall(begin=Position(), since=0.0, sent=sent, start=None)
            for key, sent in open_calls.items()
        }

    @property
    def has_calls(self) -> bool:
        """Whether a call is open."""
        return bool(self._calls)

    def add(self, located: Located) -> Sequence[Item]:
        """Take the next record; return what it completes."""
        entry = located.entry
        key = id_text(entry.trace_id)
        match entry.kind:
            case Kind.START:
                self._drop(key)
                sent = Flag.SENT in entry.flags
                self._calls[key] = _OpenCall(
                    begin=located.begin, since=self._clock(), sent=sent, start=entry
                )
                self._held += len(entry.payload)
            case Kind.SENT if key in self._calls:
                self._calls[key].sent = True
            case Kind.PROGRESS if key in self._calls:
                call = self._calls[key]
                if call.start is not None:
                    self._held += len(entry.payload) - _size(call.progress)
                    call.progress = entry
            case Kind.END:
                return self._end(key, entry)
        return ()

    def due(self) -> Iterator[Item]:
        """Return the calls that are to be shipped as pending now, oldest first."""
        now = self._clock()
        for call in list(self._calls.values()):
            if call.start is None or call.handed_out:
                continue
            if now - call.since < self._pending_after and self._held <= self._max_held_bytes:
                return
            call.handed_out = True
            self._held -= call.held_bytes
            yield _pending(call.start, call.progress)

    def excess(self) -> Iterator[Item]:
        """Return the calls that are too many to be kept, as ended without an END."""
        while len(self._calls) > MAX_OPEN:
            yield self._give_up(next(iter(self._calls)), END_MISSING)

    def abandoned(self) -> Iterator[Item]:
        """Return all calls that are left: their worker is dead."""
        while self._calls:
            yield self._give_up(next(iter(self._calls)), GATEWAY_DIED)

    def acknowledged(self) -> None:
        """Note that the store has what was handed out."""
        for call in self._calls.values():
            if call.handed_out:
                call.start = call.progress = None

    def oldest(self) -> Position | None:
        """Where the first START lies that the store does not have."""
        return min((call.begin for call in self._calls.values() if call.start), default=None)

    def open_calls(self) -> Mapping[str, bool]:
        """Return the calls without an END of which the store has the START."""
        return {key: call.sent for key, call in self._calls.items() if call.start is None}

    def _end(self, key: str, end: Entry) -> Sequence[Item]:
        record = _read(end)
        if isinstance(record, Unreadable):
            return (record,)  # its call stays open: its START is worth something yet
        call = self._drop(key)
        if call is None or call.start is None or record.request is not None:
            return (record,)
        start = _request(call.start)
        if isinstance(start, Unreadable):
            return (record, start)
        record = replace(record, request=start)
        return (_stripped(record) if Flag.STRIPPED in call.start.flags else record,)

    def _drop(self, key: str) -> _OpenCall | None:
        call = self._calls.pop(key, None)
        if call is not None and not call.handed_out:
            self._held -= call.held_bytes
        return call

    def _give_up(self, key: str, code: str) -> Item:
        call = self._drop(key)
        if call is None or call.start is None:
            return Lost(trace_id=key, sent=call is not None and call.sent, code=code)
        item = _pending(call.start, call.progress)
        if isinstance(item, Record):
            return replace(item, trace=interrupted(item.trace, sent=call.sent, code=code))
        return item


def interrupted(trace: Trace, *, sent: bool, code: str) -> Trace:
    """Return the trace of a call that nobody has ended."""
    attributes = dict(trace.attributes) if sent else {**trace.attributes, NOT_SENT: "true"}
    return replace(
        trace,
        outcome=Outcome.INTERRUPTED,
        error_code=code,
        error="the gateway ended before the call did",
        attributes=attributes,
    )


def _pending(start: Entry, progress: Entry | None) -> Record | Unreadable:
    record = _read(start)
    if progress is None or isinstance(record, Unreadable):
        return record
    newer = _read(progress)  # it only adds to the START, which will do without
    return record if isinstance(newer, Unreadable) else replace(record, trace=newer.trace)


def _read(entry: Entry) -> Record | Unreadable:
    record = _decoded(entry, decode_record)
    if isinstance(record, Unreadable) or Flag.STRIPPED not in entry.flags:
        return record
    return _stripped(record)


def _request(start: Entry) -> Body | Unreadable | None:
    """Return the request of a START: its END has all the rest, and newer."""
    return _decoded(start, decode_request)


def _decoded[T](entry: Entry, decode: Callable[[bytes], T]) -> T | Unreadable:
    raw = entry.payload
    try:
        raw = content(entry)
        return decode(raw)
    except ValueError as exc:
        return Unreadable(trace_id=id_text(entry.trace_id), content=raw, reason=str(exc))


def _stripped(record: Record) -> Record:
    attributes = {**record.trace.attributes, STRIPPED: "true"}
    return replace(record, trace=replace(record.trace, attributes=attributes))


def _size(entry: Entry | None) -> int:
    return 0 if entry is None else len(entry.payload)
