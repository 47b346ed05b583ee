"""Which signed calls can be signed anew, and by which keys."""

import hashlib
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest

from llmtrace.pipeline.call import Call, RequestHead
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.credentials import MASK, Credentials
from llmtrace.pipeline.resigning import Resigner, is_fixed, is_signed
from llmtrace.providers.base import Route
from llmtrace.providers.registry import dialect
from llmtrace.providers.sigv4 import AwsKeys, Signature, SignedRequest, Signing, sign

HOST = "bedrock-runtime.us-east-1.amazonaws.com"
TARGET = "/model/anthropic.claude-v2%3A1/converse"
BODY = b'{"messages": []}'
DATE = ("X-Amz-Date", "20261121T120000Z")
KEYS = AwsKeys(key_id="AKIAOPERATOR", secret="operators", token="operators-session-token")
CLIENTS = AwsKeys(key_id="AKIACLIENT", secret="clients")


def call(*headers: tuple[str, str], query: str = "", key_id: str = "", host: str = HOST) -> Call:
    head = RequestHead(
        method="POST",
        host=host,
        port=443,
        path="/model/anthropic.claude-v2:1/converse",
        query=query,
        target=TARGET,
        authority=HOST,
        headers=(DATE, *headers),
        peer="127.0.0.1",
        mode="forward",
        started_at=datetime(2026, 11, 21, tzinfo=UTC),
        started=0.0,
    )
    known: dict[str, Any] = {"trace_id": "t1", "key_id": key_id}
    return Call(
        head=head,
        known=known,
        credentials=Credentials(headers),
        dialect=dialect("bedrock.converse"),
        route=Route(provider="bedrock", dialect="bedrock.converse", operation="chat"),
    )


def signed(keys: AwsKeys, *, service: str = "bedrock", **more: Any) -> Call:
    """Return a call as a client with these keys signs it."""
    signature = Signature(
        key_id=keys.key_id,
        day="20261121",
        region="us-east-1",
        service=service,
        names=("host", "x-amz-date"),
        digits="",
    )
    sent = SignedRequest(
        method="POST",
        host=HOST,
        target=TARGET,
        headers=(DATE,),
        body_sha256=hashlib.sha256(BODY).hexdigest(),
    )
    made = sign(sent, Signing(signature=signature, keys=keys))
    return call(*((name, value) for name, value in made.items() if value), **more)


def resigner(*keys: AwsKeys, **more: Any) -> Resigner:
    sources = [lambda one=one: one for one in keys or (KEYS,)]
    return Resigner(sources, Counters(), is_bedrock=lambda host, _: host == HOST, **more)


async def test_a_call_is_signed_with_the_keys_that_it_was_signed_with() -> None:
    about = signed(KEYS)
    assert is_fixed(about)
    await resigner(CLIENTS, KEYS).look(about, BODY)
    assert about.signing is not None
    assert about.signing.keys is KEYS
    assert about.signing.is_own
    assert not is_fixed(about)
    assert about.credentials.scrub(f"says {KEYS.token}") == f"says {MASK}"


REFUSED = {
    "by-other-keys": (signed(CLIENTS), BODY),
    "another-body": (signed(KEYS), BODY + b" "),
    "same-id-other-secret": (signed(replace(KEYS, secret="guessed")), BODY),
    "another-service": (signed(KEYS, service="s3"), BODY),
    "another-host": (signed(KEYS, host="bedrock.example.com"), BODY),
    "in-the-query": (call(query="X-Amz-Signature=00&X-Amz-Credential=x"), BODY),
    "asymmetric": (call(("authorization", "AWS4-ECDSA-P256-SHA256 Credential=x")), BODY),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_proves_no_keys_of_the_operators_stays_as_it_is(name: str) -> None:
    about, body = REFUSED[name]
    await resigner().look(about, body)
    assert about.signing is None
    assert is_signed(about)
    assert is_fixed(about)
    assert about.unsignable
    assert "AKIA" not in about.unsignable


@pytest.mark.parametrize(("key_id", "keys"), [("", None), ("key-1", KEYS)])
async def test_only_holders_of_our_keys_are_signed_for_in_the_operators_name(
    key_id: str, keys: AwsKeys | None
) -> None:
    about = signed(CLIENTS, key_id=key_id)
    await resigner(KEYS, for_key_holders=True).look(about, BODY)
    assert (about.signing.keys if about.signing else None) is keys
    assert about.signing is None or not about.signing.is_own


async def test_a_key_of_ours_alone_signs_for_nobody() -> None:
    about = signed(CLIENTS, key_id="key-1")
    await resigner().look(about, BODY)
    assert is_fixed(about)


async def test_what_is_not_signed_is_not_looked_into() -> None:
    about = call(("authorization", "Bearer key"))
    await resigner().look(about, BODY)
    assert (about.signing, about.unsignable) == (None, "")
    assert not is_fixed(about)


def gone() -> AwsKeys:
    raise ValueError("resigning.aws[0].access_key_id: /run/key cannot be read: gone")


@pytest.mark.parametrize("unread", [0, 1])
async def test_keys_that_cannot_be_read_are_in_nobody_else_s_way(unread: int) -> None:
    sources = [lambda: KEYS]
    sources.insert(unread, gone)
    for about, signs in ((signed(KEYS), True), (signed(CLIENTS, key_id="key-1"), unread == 1)):
        made = Resigner(
            sources, Counters(), is_bedrock=lambda _host, _port: True, for_key_holders=True
        )
        await made.look(about, BODY)
        assert (about.signing.keys if about.signing else None) is (KEYS if signs else None)
        assert signs or "gateway's log" in about.unsignable


async def test_keys_that_cannot_be_read_leave_it_as_it_is(caplog: pytest.LogCaptureFixture) -> None:
    counters = Counters()
    about = signed(KEYS)
    await Resigner([gone], counters, is_bedrock=lambda _host, _port: True).look(about, BODY)
    assert is_fixed(about)
    assert "gateway's log" in about.unsignable
    assert counters.get("resigning_failed") == 1
    assert "resigning.aws[0].access_key_id" in caplog.text
