import gzip
import zlib

import brotli  # type: ignore[import-untyped]  # it ships no stubs
import pytest
import zstandard

from llmtrace.testing.script import ScriptedTool
from llmtrace.testing.wire import (
    Chunk,
    Request,
    arguments_of,
    compact,
    sse_event,
    stream_reply,
    text_of,
)

BODY = b'{"model":"m"}'


@pytest.mark.parametrize(
    ("coding", "body"),
    [
        pytest.param("", BODY, id="identity"),
        pytest.param("gzip", gzip.compress(BODY), id="gzip"),
        pytest.param("deflate", zlib.compress(BODY), id="deflate"),
        pytest.param("br", brotli.compress(BODY), id="br"),
        pytest.param("zstd", zstandard.compress(BODY), id="zstd"),
    ],
)
def test_a_body_is_read_through_its_coding(coding: str, body: bytes) -> None:
    request = Request(method="POST", path="/", headers={"content-encoding": coding}, body=body)
    assert request.json == {"model": "m"}


@pytest.mark.parametrize(
    ("coding", "body"),
    [("", b"{"), ("", b"[1]"), ("gzip", BODY), ("br", BODY), ("zstd", BODY), ("deflate", BODY)],
)
def test_what_is_no_json_object_reads_as_empty(coding: str, body: bytes) -> None:
    request = Request(method="POST", path="/", headers={"content-encoding": coding}, body=body)
    assert request.json == {}


def test_an_event_has_its_name_and_one_line_of_data() -> None:
    assert sse_event({"a": "é"}, name="x") == 'event: x\ndata: {"a":"é"}\n\n'.encode()
    assert sse_event(b"[DONE]") == b"data: [DONE]\n\n"


def test_a_stream_joins_to_its_body() -> None:
    assert stream_reply([Chunk(b"a"), Chunk(b"b", delta=True)]).body == b"ab"


def test_texts_of_all_shapes() -> None:
    parts = ["one", {"type": "text", "text": "two"}, {"type": "image"}, 3]
    assert [text_of("x"), text_of(parts), text_of(None)] == ["x", "one\ntwo\n", ""]


def test_arguments_are_json_where_they_can_be() -> None:
    assert arguments_of(ScriptedTool(name="t", arguments='{"a":1}')) == {"a": 1}
    assert arguments_of(ScriptedTool(name="t", arguments="plain")) == "plain"
    assert compact({"a": [1, None]}) == b'{"a":[1,null]}'
