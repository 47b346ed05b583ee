import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from mitmproxy import http

from llmtrace.addons.signing import TokenFilter, sign_anew, token_filter
from llmtrace.pipeline.call import Call, RequestHead
from llmtrace.pipeline.credentials import MASK, Credentials
from llmtrace.providers.base import Route
from llmtrace.providers.registry import dialect
from llmtrace.providers.sigv4 import (
    AwsKeys,
    Signature,
    SignedRequest,
    Signing,
    is_valid,
    read_signature,
)

OPERATORS = AwsKeys(key_id="AKIAOPERATOR", secret="operators", token="operators/session+token==")
URL = "https://bedrock-runtime.us-east-1.amazonaws.com/model/m%3A0/converse"


def call(key_id: str = OPERATORS.key_id, *, forward: bytes | None = b"{}") -> Call:
    head = RequestHead(
        method="POST",
        host="h",
        port=443,
        path="/",
        headers=(),
        peer="127.0.0.1",
        mode="forward",
        started_at=datetime(2026, 11, 21, tzinfo=UTC),
        started=0.0,
    )
    known: dict[str, Any] = {"trace_id": "t1"}
    made = Call(
        head=head,
        known=known,
        credentials=Credentials([]),
        dialect=dialect("bedrock.converse"),
        route=Route(provider="bedrock", dialect="bedrock.converse", operation="chat"),
        forward=forward,
    )
    signature = Signature(
        key_id=key_id,
        day="20261121",
        region="us-east-1",
        service="bedrock",
        names=("accept-encoding", "content-length", "digest", "host", "x-amz-date"),
        digits="0" * 64,
    )
    made.signing = Signing(signature=signature, keys=OPERATORS)
    return made


def request() -> http.Request:
    headers: Mapping[str | bytes, str | bytes] = {
        "host": "bedrock-runtime.us-east-1.amazonaws.com",
        "x-amz-date": "20261121T120000Z",
        "accept-encoding": "gzip",
        "x-amz-security-token": "old",
    }
    return http.Request.make("POST", URL, b'{"messages": []}', dict(headers))


def as_signed(sent: http.Request) -> SignedRequest:
    return SignedRequest(
        method=sent.method,
        host=sent.headers["host"],
        target=sent.path,
        headers=list(sent.headers.items(multi=True)),
        body_sha256=hashlib.sha256(sent.raw_content or b"").hexdigest(),
    )


async def test_a_changed_request_is_signed_as_it_is_sent() -> None:
    sent, about = request(), call()
    assert await sign_anew(sent, about)
    found = read_signature(as_signed(sent))
    assert found.names == (
        "accept-encoding",
        "content-length",
        "host",
        "x-amz-date",
        "x-amz-security-token",
    )
    assert is_valid(as_signed(sent), found, OPERATORS)
    assert sent.headers["x-amz-security-token"] == OPERATORS.token
    assert sent.headers["accept-encoding"] == "gzip"
    assert about.known["attributes"] == {"resigned": "true"}


async def test_what_was_not_changed_keeps_its_signature() -> None:
    sent, about = request(), call(forward=None)
    before = sent.headers.fields
    assert not await sign_anew(sent, about)
    assert sent.headers.fields == before


async def test_a_call_of_other_keys_asks_for_an_answer_that_can_be_read() -> None:
    sent = request()
    assert await sign_anew(sent, call("AKIACLIENT"))
    assert sent.headers["accept-encoding"] == "identity"
    assert is_valid(as_signed(sent), read_signature(as_signed(sent)), OPERATORS)


@pytest.mark.parametrize(
    ("status", "key_id", "filters"),
    [(403, "AKIACLIENT", True), (200, "AKIACLIENT", False), (403, OPERATORS.key_id, False)],
)
def test_the_token_is_kept_from_others_in_errors(status: int, key_id: str, filters: bool) -> None:
    answer = http.Response.make(status, b"")
    assert (token_filter(answer, call(key_id)) is not None) is filters


@given(st.lists(st.integers(0, 60)), st.integers(0, 3))
def test_the_token_goes_whatever_the_pieces(cuts: list[int], times: int) -> None:
    body = b"said: operators/session" + OPERATORS.token.encode() * times + b" oper"
    places = [0, *sorted(cuts), len(body)]
    pieces = [body[a:b] for a, b in pairwise(places) if b > a]
    cut = TokenFilter(OPERATORS.token)
    passed = b"".join(map(cut.next, pieces)) + cut.next(b"")
    assert passed == body.replace(OPERATORS.token.encode(), MASK.encode())
