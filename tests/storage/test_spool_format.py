import itertools
from collections.abc import Sequence
from dataclasses import replace
from struct import pack_into
from zlib import crc32

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmtrace.storage.spool_format import (
    HEADER_SIZE,
    MAGIC,
    MAX_PAYLOAD,
    Damage,
    Decoder,
    Entry,
    Event,
    Flag,
    Kind,
    Torn,
    encode,
)

SEED = 0x5F3A9C1E


def an_entry(number: int, payload: bytes, kind: Kind = Kind.START) -> bytes:
    return encode(kind, bytes([number] * 16), time_ns=number, seed=SEED, payload=payload)


PAYLOADS = (b"", b"a", MAGIC, MAGIC[:3], b"\xf5" * 7, b"hello " * 9, an_entry(9, b"forged"))
RECORDS = tuple(an_entry(number, payload) for number, payload in enumerate(PAYLOADS))
SEGMENT = b"".join(RECORDS)
BOUNDS = tuple(sum(map(len, RECORDS[:count])) for count in range(len(RECORDS) + 1))


def decode(data: bytes, *, size: int | None = None, seed: int = SEED) -> Sequence[Event]:
    decoder = Decoder(seed)
    size = size or max(1, len(data))
    events = [e for at in range(0, len(data), size) for e in decoder.receive(data[at : at + size])]
    return [*events, *decoder.finish()]


def payloads(events: Sequence[Event]) -> Sequence[bytes]:
    return [event.payload for event in events if isinstance(event, Entry)]


def test_records_come_back_as_they_were() -> None:
    events = decode(SEGMENT)
    assert payloads(events) == list(PAYLOADS)
    assert [(e.begin, e.end) for e in events] == list(itertools.pairwise(BOUNDS))
    assert events[1] == Entry(
        kind=Kind.START,
        flags=Flag.NONE,
        trace_id=b"\1" * 16,
        time_ns=1,
        payload=b"a",
        begin=HEADER_SIZE,
        end=2 * HEADER_SIZE + 1,
    )


@pytest.mark.parametrize("size", range(1, HEADER_SIZE * 2))
def test_chunking_changes_nothing(size: int) -> None:
    assert decode(SEGMENT, size=size) == decode(SEGMENT)


@pytest.mark.parametrize("cut", range(len(SEGMENT) + 1))
def test_whatever_is_cut_off_the_records_before_it_survive(cut: int) -> None:
    whole = max(count for count, bound in enumerate(BOUNDS) if bound <= cut)
    events = decode(SEGMENT[:cut])
    assert payloads(events) == list(PAYLOADS[:whole])
    torn = [] if cut == BOUNDS[whole] else [Torn(begin=BOUNDS[whole], end=cut)]
    assert [e for e in events if not isinstance(e, Entry)] == torn


@pytest.mark.parametrize("size", [None, 1, 50])
def test_a_changed_byte_costs_its_record_and_no_other(size: int | None) -> None:
    for at in range(len(SEGMENT)):
        data = bytearray(SEGMENT)
        data[at] ^= 0x41
        hit = max(count for count, bound in enumerate(BOUNDS) if bound <= at)
        events = decode(bytes(data), size=size)
        if hit == len(PAYLOADS) - 1:
            continue  # it holds a true record, which is found: see the test of the stranger's
        assert payloads(events) == [*PAYLOADS[:hit], *PAYLOADS[hit + 1 :]], at
        damage = [e for e in events if not isinstance(e, Entry)]
        assert damage == [Damage(begin=BOUNDS[hit], end=BOUNDS[hit + 1])], at


def test_bytes_of_a_stranger_are_no_record_even_behind_damage() -> None:
    stranger = encode(Kind.END, b"\6" * 16, time_ns=1, seed=SEED ^ 1, payload=b"forged")
    data = bytearray(an_entry(1, b"before" + stranger) + an_entry(2, b"after"))
    data[HEADER_SIZE] ^= 1
    assert payloads(decode(bytes(data))) == [b"after"]


def test_a_lying_length_hides_nothing_and_makes_nobody_wait() -> None:
    data = bytearray(SEGMENT)
    pack_into("<I", data, BOUNDS[2] + 8, 2**31)
    events = Decoder(SEED).receive(bytes(data))
    assert payloads(events) == [*PAYLOADS[:2], *PAYLOADS[3:]]


def test_a_right_header_with_an_absurd_length_is_damage() -> None:
    head = bytearray(an_entry(1, b"")[: HEADER_SIZE - 4])
    pack_into("<I", head, 8, MAX_PAYLOAD + 1)
    head += crc32(head, SEED).to_bytes(4, "little")
    events = Decoder(SEED).receive(bytes(head) + an_entry(2, b"after"))
    assert payloads(events) == [b"after"]


def test_records_of_a_newer_release_are_passed_over_and_said() -> None:
    def altered(at: int, value: int) -> bytes:
        head = bytearray(an_entry(1, b"")[: HEADER_SIZE - 4])
        head[at] = value
        return bytes(head) + crc32(head, SEED).to_bytes(4, "little")

    events = decode(altered(4, 2) + altered(5, 77) + an_entry(2, b"after"))
    size = HEADER_SIZE
    assert events[:2] == [
        Damage(begin=0, end=size, reason="version"),
        Damage(begin=size, end=2 * size, reason="version"),
    ]
    assert payloads(events) == [b"after"]


def test_zeros_that_a_power_cut_left_are_a_torn_tail() -> None:
    data = SEGMENT + bytes(4096)
    assert decode(data)[-1] == Torn(begin=len(SEGMENT), end=len(data))
    assert decode(data, size=100)[-1] == Torn(begin=len(SEGMENT), end=len(data))


def test_a_torn_record_in_the_middle_does_not_hide_the_ones_behind() -> None:
    torn = an_entry(1, b"x" * 500)[:300]
    events = decode(torn + an_entry(2, b"after"))
    assert events[0] == Damage(begin=0, end=300)
    assert payloads(events) == [b"after"]


def test_reading_goes_on_from_an_offset() -> None:
    decoder = Decoder(SEED, offset=BOUNDS[3])
    events = decoder.receive(SEGMENT[BOUNDS[3] :])
    assert events == decode(SEGMENT)[3:]
    assert decoder.received == len(SEGMENT)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(st.binary(max_size=60), max_size=6),
    st.lists(st.tuples(st.integers(0, 10**6), st.binary(min_size=1, max_size=9)), max_size=3),
    st.integers(1, 200),
)
@example([b"\xf5LT\n" * 9], [(50, b"\xf5")], 7)
def test_any_damage_is_accounted_to_the_byte(
    contents: list[bytes], strikes: list[tuple[int, bytes]], size: int
) -> None:
    data = bytearray(b"".join(an_entry(i, each) for i, each in enumerate(contents)))
    for at, content in strikes:
        if data:
            at %= len(data)
            data[at : at + len(content)] = content
    events = decode(bytes(data), size=size)
    edges = [0, *(event.end for event in events)]
    assert [event.begin for event in events] == edges[:-1]
    assert edges[-1] == len(data)
    assert events == decode(bytes(data))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.integers(1, 50))
def test_any_bytes_are_read_without_raising(data: bytes, size: int) -> None:
    assert payloads(decode(data, size=size)) == []


def test_the_seed_decides() -> None:
    assert payloads(decode(SEGMENT, seed=SEED + 1)) == []
    assert replace(decode(SEGMENT)[0]) == decode(SEGMENT)[0]
