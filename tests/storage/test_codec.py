import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta, timezone
from types import MappingProxyType

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.traces import Body, Record, Span, Texts, Trace
from llmtrace.domain.usage import Usage
from llmtrace.storage.codec import (
    FORMAT,
    CodecError,
    decode_record,
    decode_request,
    decode_trace,
    encode_record,
    encode_trace,
    from_json,
    to_json,
)
from llmtrace.testing.records import NOON, a_record, a_trace, records, traces


@settings(max_examples=200, deadline=None)
@given(traces())
def test_any_trace_comes_back_equal(trace: Trace) -> None:
    assert decode_trace(encode_trace(trace)) == trace


@settings(max_examples=100, deadline=None)
@given(records())
def test_any_record_comes_back_equal(record: Record) -> None:
    assert decode_record(encode_record(record)) == record
    assert decode_request(encode_record(record)) == record.request


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200))
def test_any_other_bytes_are_refused_with_one_error(data: bytes) -> None:
    for decode in (decode_trace, decode_record, decode_request):
        with pytest.raises(CodecError):
            decode(data)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_a_record_cut_short_is_refused(data: st.DataObject) -> None:
    whole = encode_record(a_record())
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(CodecError):
        decode_record(whole[:cut])
    with pytest.raises(CodecError):
        decode_request(whole[:cut])


def test_bytes_behind_a_record_are_refused() -> None:
    with pytest.raises(CodecError):
        decode_record(encode_record(a_record()) + b"x")


def test_types_survive() -> None:
    trace = decode_trace(encode_trace(a_trace()))
    for name in Trace.__dataclass_fields__:
        assert type(getattr(trace, name)) is type(getattr(a_trace(), name)), name


def test_keys_of_a_newer_version_are_left_out() -> None:
    values = json.loads(encode_trace(a_trace()))
    values["more"] = 1
    values["trace"]["colour"] = "red"
    values["trace"]["usage"]["dreamt_tokens"] = 5
    values["trace"]["spans"][0]["links"] = []
    assert decode_trace(json.dumps(values).encode()) == a_trace()


def test_missing_keys_have_their_default() -> None:
    start = {"trace_id": "t", "started_at": NOON.isoformat(), "tenant": "", "agent": ""}
    trace = decode_trace(json.dumps({"v": 1, "trace": start}).encode())
    assert trace == Trace(trace_id="t", started_at=NOON, tenant="", agent="")


def test_a_newer_format_is_refused_with_the_way_out() -> None:
    data = encode_trace(a_trace()).replace(b'{"v":1', b'{"v":%d' % (FORMAT + 1), 1)
    with pytest.raises(CodecError, match="format 2, expected at most 1: a newer version"):
        decode_trace(data)


def test_the_error_holds_nothing_of_the_bytes() -> None:
    with pytest.raises(CodecError) as caught:
        decode_trace(b'{"v":1,"trace":{"outcome":"sesame"}}')
    assert "sesame" not in f"{caught.value!r} {caught.value.__cause__!r}"
    assert caught.value.__suppress_context__


def test_a_time_elsewhere_is_the_same_instant() -> None:
    there = NOON.astimezone(timezone(timedelta(hours=5, minutes=30)))
    assert decode_trace(encode_trace(a_trace(started_at=there))).started_at == NOON


def test_any_mapping_serves_as_attributes() -> None:
    trace = a_trace(attributes=MappingProxyType({"a": "b"}))
    assert decode_trace(encode_trace(trace)).attributes == {"a": "b"}


def test_counts_beyond_64_bits_do_not_lose_the_trace() -> None:
    trace = a_trace(usage=Usage(input_tokens=2**70))
    assert decode_trace(encode_trace(trace)).usage.input_tokens == 2**70


def test_a_duration_that_is_no_number_is_not_lost_with_its_trace() -> None:
    span = Span(name="s", offset_ms=float("nan"), duration_ms=1.0)
    (read,) = decode_trace(encode_trace(a_trace(spans=(span,), ttft_ms=float("inf")))).spans
    assert read.offset_ms != read.offset_ms
    assert read.duration_ms == 1.0


@pytest.mark.parametrize("encode", [encode_trace, lambda trace: to_json(trace)])
def test_a_trace_is_one_line(encode: Callable[[Trace], bytes]) -> None:
    assert b"\n" not in encode(a_trace(error="a\nb\r\n", path="/\ud800"))


def test_bodies_are_not_copied_into_text() -> None:
    body = Body(content=bytes(range(256)) * 4, media_type="application/octet-stream")
    record = replace(a_record(), request=body, answer=None, texts=Texts())
    assert encode_record(record).endswith(body.content)


def test_json_of_odd_values_is_read_back() -> None:
    for value in ({"a": "\ud800"}, {"n": 2**80}, {"é": "\U0001d538"}):
        assert from_json(to_json(value)) is not None
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json(object())
