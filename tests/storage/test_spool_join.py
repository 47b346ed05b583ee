from collections.abc import Sequence
from dataclasses import replace

import pytest

from llmtrace.domain.traces import Body, Outcome, Record, Trace
from llmtrace.storage import spool_join
from llmtrace.storage.codec import encode_record
from llmtrace.storage.spool_format import Entry, Flag, Kind
from llmtrace.storage.spool_join import Item, Joiner, Lost, Unreadable
from llmtrace.storage.spool_ledger import Position
from llmtrace.storage.spool_payload import compress, id_bytes
from llmtrace.storage.spool_reader import Located
from llmtrace.testing.records import a_record, a_trace, numbered_id

BODY = Body(content=b"the request")


def pending(number: int) -> Trace:
    return a_trace(number, outcome=Outcome.PENDING)


def ended(number: int) -> Record:
    return replace(a_record(number), request=None)


class Stream:
    """Numbers records as they would lie in a segment."""

    def __init__(self, joiner: Joiner) -> None:
        self.joiner = joiner
        self.at = 0

    def add(
        self, kind: Kind, number: int, record: Record | bytes = b"", flags: Flag = Flag.NONE
    ) -> Sequence[Item]:
        raw = encode_record(record) if isinstance(record, Record) else record
        payload, packed = compress(raw)
        self.at += 1
        entry = Entry(
            kind=kind,
            flags=flags | packed,
            trace_id=id_bytes(numbered_id(number)),
            time_ns=0,
            payload=payload,
            begin=self.at,
            end=self.at + 1,
        )
        begin, end = (Position(segment=1, offset=at) for at in (entry.begin, entry.end))
        return self.joiner.add(Located(entry=entry, begin=begin, end=end))

    def start(self, number: int, flags: Flag = Flag.NONE) -> Sequence[Item]:
        return self.add(Kind.START, number, Record(trace=pending(number), request=BODY), flags)

    def end(self, number: int) -> Sequence[Item]:
        return self.add(Kind.END, number, ended(number))


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def stream(clock: Clock) -> Stream:
    return Stream(Joiner({}, clock=clock))


def test_start_and_end_make_one_record(stream: Stream) -> None:
    assert stream.start(1) == ()
    assert stream.add(Kind.SENT, 1) == ()
    assert stream.end(1) == (replace(ended(1), request=BODY),)
    assert not stream.joiner.has_calls


def test_an_end_with_a_request_keeps_its_own(stream: Stream) -> None:
    stream.start(1)
    assert stream.add(Kind.END, 1, a_record(1)) == (a_record(1),)


def test_an_end_without_a_start_is_a_record(stream: Stream) -> None:
    assert stream.end(1) == (ended(1),)


def test_a_long_call_is_shipped_as_pending_once(stream: Stream, clock: Clock) -> None:
    stream.start(1)
    assert list(stream.joiner.due()) == []
    clock.now = 1.9
    stream.start(2)
    assert list(stream.joiner.due()) == []
    clock.now = 2.0
    assert list(stream.joiner.due()) == [Record(trace=pending(1), request=BODY)]
    assert list(stream.joiner.due()) == []


def test_the_position_waits_for_starts_that_the_store_lacks(stream: Stream, clock: Clock) -> None:
    stream.start(1)
    stream.start(2)
    assert stream.joiner.oldest() == Position(segment=1, offset=1)
    stream.end(1)
    assert stream.joiner.oldest() == Position(segment=1, offset=2)
    clock.now = 5.0
    list(stream.joiner.due())
    assert stream.joiner.oldest() == Position(segment=1, offset=2)
    assert stream.joiner.open_calls() == {}
    stream.joiner.acknowledged()
    assert stream.joiner.oldest() is None
    assert stream.joiner.open_calls() == {numbered_id(2): False}
    stream.add(Kind.SENT, 2)
    assert stream.joiner.open_calls() == {numbered_id(2): True}
    assert stream.end(2) == (ended(2),)
    assert stream.joiner.open_calls() == {}


def test_too_many_held_bytes_are_shipped_before_their_time(clock: Clock) -> None:
    stream = Stream(Joiner({}, clock=clock, max_held_bytes=3000))
    for number in range(20):
        stream.start(number)
    early = list(stream.joiner.due())
    assert 10 < len(early) < 20
    assert [item.trace.trace_id for item in early if isinstance(item, Record)] == [
        numbered_id(number) for number in range(len(early))
    ]
    assert list(stream.joiner.due()) == []


@pytest.mark.parametrize(
    ("flags", "sent", "attributes"),
    [
        pytest.param(Flag.NONE, False, {"not_sent": "true"}, id="admitted-only"),
        pytest.param(Flag.NONE, True, {}, id="sent"),
        pytest.param(Flag.SENT, False, {}, id="start-and-sent"),
    ],
)
def test_a_dead_workers_calls_are_interrupted(
    stream: Stream, flags: Flag, sent: bool, attributes: dict[str, str]
) -> None:
    stream.start(1, flags)
    if sent:
        stream.add(Kind.SENT, 1)
    (item,) = stream.joiner.abandoned()
    assert isinstance(item, Record)
    assert item.request == BODY
    assert (item.trace.outcome, item.trace.error_code) == (Outcome.INTERRUPTED, "gateway_died")
    assert item.trace.attributes == {**pending(1).attributes, **attributes}
    assert not stream.joiner.has_calls


def test_what_was_known_by_then_is_kept(stream: Stream) -> None:
    stream.start(1)
    stream.add(Kind.PROGRESS, 1, Record(trace=replace(pending(1), model_answered="late")))
    (item,) = stream.joiner.abandoned()
    assert isinstance(item, Record)
    assert (item.trace.model_answered, item.request) == ("late", BODY)


def test_progress_that_cannot_be_read_takes_nothing_away(stream: Stream) -> None:
    stream.start(1)
    stream.add(Kind.PROGRESS, 1, b"no record")
    (item,) = stream.joiner.abandoned()
    assert isinstance(item, Record)
    assert item.trace.model_answered == pending(1).model_answered


def test_a_call_of_the_ledger_is_lost_by_its_id() -> None:
    joiner = Joiner({numbered_id(1): True, numbered_id(2): False})
    assert Stream(joiner).end(1) == (ended(1),)
    assert list(joiner.abandoned()) == [
        Lost(trace_id=numbered_id(2), sent=False, code="gateway_died")
    ]


def test_calls_without_an_end_are_bounded(stream: Stream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool_join, "MAX_OPEN", 3)
    for number in range(5):
        stream.start(number)
    given_up = list(stream.joiner.excess())
    codes = [(r.trace.trace_id, r.trace.error_code) for r in given_up if isinstance(r, Record)]
    assert codes == [(numbered_id(0), "end_missing"), (numbered_id(1), "end_missing")]


def test_an_end_that_cannot_be_read_leaves_its_call_open(stream: Stream) -> None:
    stream.start(1)
    (item,) = stream.add(Kind.END, 1, b"no record" * 99)
    assert item == Unreadable(
        trace_id=numbered_id(1),
        content=b"no record" * 99,
        reason=item.reason,  # type: ignore[union-attr]  # it is one
    )
    assert stream.joiner.has_calls


def test_a_start_that_cannot_be_read_does_not_hold_its_end(stream: Stream) -> None:
    stream.add(Kind.START, 1, b"no record")
    record, start = stream.end(1)
    assert record == ended(1)
    assert isinstance(start, Unreadable)


def test_a_broken_frame_is_kept_as_it_is(stream: Stream) -> None:
    (item,) = stream.add(Kind.END, 1, b"no frame", Flag.ZSTD)
    assert isinstance(item, Unreadable)
    assert item.content == b"no frame"


def test_stripped_records_say_so(stream: Stream) -> None:
    stream.start(1, Flag.STRIPPED)
    (first,) = stream.end(1)
    (second,) = stream.add(Kind.END, 2, ended(2), Flag.STRIPPED)
    for item in (first, second):
        assert isinstance(item, Record)
        assert item.trace.attributes["spool_stripped"] == "true"


def test_a_start_that_is_read_again_counts_once(stream: Stream) -> None:
    stream.start(1)
    stream.start(1)
    assert stream.joiner.oldest() == Position(segment=1, offset=2)
    assert len(list(stream.joiner.abandoned())) == 1
