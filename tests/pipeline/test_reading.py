"""Reading requests: what is decoded, what is parsed, and what is accounted for as unread."""

import gzip
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from llmtrace.pipeline.call import Call, RequestHead
from llmtrace.pipeline.conversation import Conversations
from llmtrace.pipeline.credentials import Credentials
from llmtrace.pipeline.reading import RequestReader
from llmtrace.pipeline.requests import MAX_NAME, Bounds
from llmtrace.providers.base import Route
from llmtrace.providers.decoding import BodyTooLarge
from llmtrace.providers.hosts import HostTable
from llmtrace.providers.jsongate import BadJson, JsonLimits
from llmtrace.providers.registry import dialect

BODY = b'{"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}'


def reader(**limits: int) -> RequestReader:
    bounds = {"decoded_bytes": 1 << 16, "decoded_ratio": 100, "answer_bytes": 1, "frame_bytes": 1}
    return RequestReader(
        hosts=HostTable(),
        bounds=Bounds(**(bounds | limits), json=JsonLimits()),
        conversations=Conversations(),
        keep_bodies=True,
    )


def call(
    *headers: tuple[str, str], path: str = "/v1/chat/completions", generic: bool = False
) -> Call:
    head = RequestHead(
        method="POST",
        host="api.openai.com",
        port=443,
        path=path,
        headers=headers or (("content-type", "application/json"),),
        peer="127.0.0.1",
        mode="forward",
        started_at=datetime(2026, 11, 21, tzinfo=UTC),
        started=0.0,
    )
    name = "generic" if generic else "openai.chat"
    known = {"trace_id": "t", "tenant": "acme", "session": "", "model": "", "dialect": name}
    return Call(
        head=head,
        known=known,
        credentials=Credentials(headers),
        dialect=dialect(name),
        route=Route(
            provider="openai",
            dialect=name,
            operation="other" if generic else "chat",
            generic=generic,
        ),
    )


def test_a_request_is_parsed_kept_and_understood() -> None:
    about = call()
    content, parsed = reader().read(about, BODY)
    assert content == BODY
    assert isinstance(parsed, dict)
    assert about.known["model"] == "gpt-4o"
    assert [part.text for part in about.view.parts] == ["Hello"]
    assert about.request_body is not None
    assert about.request_body.content == BODY
    assert about.known["turn"] == 1


def test_a_coded_request_is_read_as_it_is_without_its_coding() -> None:
    about = call(("content-encoding", "gzip"), ("content-type", "application/json"))
    assert reader().read(about, gzip.compress(BODY))[0] == BODY
    assert about.request_bytes == len(BODY)


def test_what_is_over_a_bound_is_refused() -> None:
    with pytest.raises(BodyTooLarge):
        reader(decoded_bytes=10).read(call(("content-encoding", "gzip")), gzip.compress(BODY))


def test_a_known_route_takes_nothing_but_json() -> None:
    with pytest.raises(BadJson):
        reader().read(call(), b"hello")


def test_an_empty_body_is_a_body_where_none_is_due() -> None:
    cancel = call(path="/v1/responses/resp_1/cancel")
    cancel.route = replace(cancel.route, dialect="openai.responses", operation="retrieve")
    assert reader().read(cancel, b"") == (b"", None)
    with pytest.raises(BadJson):
        reader().read(cancel, b"{")
    with pytest.raises(BadJson):
        reader().read(call(), b"")


def test_an_unknown_route_may_be_no_json_and_says_so() -> None:
    about = call(("content-type", "text/plain"), path="/v1/other", generic=True)
    assert reader().read(about, b"hello") == (b"hello", None)
    assert [(gap.reason, gap.size) for gap in about.gaps] == [("not_json", 5)]


def test_a_form_says_which_model_it_asks() -> None:
    made = call(
        ("content-type", "multipart/form-data; boundary=b"),
        path="/v1/audio/transcriptions",
        generic=True,
    )
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    assert reader().read(made, form)[1] is None
    assert made.known["model"] == "whisper-1"


def test_an_unknown_route_that_speaks_a_known_dialect_is_read_in_it() -> None:
    about = call(path="/odd/v1/chat/completions", generic=True)
    reader().read(about, BODY)
    assert about.known["dialect"] == "openai.chat"


def test_a_models_name_has_a_bound() -> None:
    about = call()
    reader().read(about, BODY.replace(b"gpt-4o", b"m" * 5000))
    assert len(about.known["model"]) == MAX_NAME


def test_media_counts_as_unread() -> None:
    about = call()
    image = b'{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}'
    reader().read(about, BODY.replace(b'"Hello"', b"[" + image + b"]"))
    assert [gap.reason for gap in about.gaps] == ["media"]
