from dataclasses import replace
from datetime import UTC, datetime

import orjson
import pytest

from llmtrace.pipeline.call import RequestHead
from llmtrace.pipeline.credentials import TooManyCredentials
from llmtrace.pipeline.requests import (
    believed,
    fault,
    is_coded,
    named_model,
    target_of,
    with_details,
)
from llmtrace.providers.decoding import BodyTooLarge
from llmtrace.providers.hosts import HostTable


def head(*headers: tuple[str, str]) -> RequestHead:
    return RequestHead(
        method="POST",
        host="api.openai.com",
        port=443,
        path="/v1/responses",
        headers=headers,
        peer="127.0.0.1",
        mode="forward",
        started_at=datetime(2026, 1, 1, tzinfo=UTC),
        started=0.0,
    )


@pytest.mark.parametrize(
    ("headers", "coded"),
    [
        ([], False),
        ([("Content-Encoding", "Identity")], False),
        ([("content-encoding", "gzip")], True),
        ([("content-encoding", "identity"), ("content-encoding", "br")], True),
    ],
)
def test_a_coding_makes_a_body_of_unknown_size(headers: list[tuple[str, str]], coded: bool) -> None:
    assert is_coded(head(*headers)) is coded


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (BodyTooLarge(5), 413, "body_too_large"),
        (TooManyCredentials(), 431, "too_many_credentials"),
    ],
)
def test_each_fault_has_its_status(error: ValueError, status: int, code: str) -> None:
    assert fault(error)[:2] == (status, code)


def test_a_query_may_name_the_model() -> None:
    assert (named_model("a=b&model=m"), named_model("a=b")) == ("m", "")


def test_a_target_is_what_the_head_says() -> None:
    target = target_of(head(), {"a": "b"})
    assert (target.host, target.path, target.headers) == (
        "api.openai.com",
        "/v1/responses",
        {"a": "b"},
    )


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(
            b'{"error":{"message":"m","code":"c"}}',
            {"error": {"message": "m", "code": "c", "window": "daily"}},
            id="openai",
        ),
        pytest.param(
            b'{"type":"error","error":{"type":"t","message":"m"}}',
            {
                "type": "error",
                "error": {"type": "t", "message": "m", "window": "daily", "code": "c"},
            },
            id="anthropic",
        ),
        pytest.param(
            b'{"message":"m"}', {"message": "m", "window": "daily", "code": "c"}, id="bedrock"
        ),
    ],
)
def test_details_stand_with_the_message(body: bytes, told: dict[str, object]) -> None:
    assert orjson.loads(with_details(body, "c", {"window": "daily"})) == told
    assert with_details(body, "c", {}) == body


@pytest.mark.parametrize(
    ("host", "hint", "trusted", "kept"),
    [
        pytest.param("api.openai.com", "ollama", False, "", id="of-a-known-host"),
        pytest.param("api.openai.com", "ollama", True, "ollama", id="by-who-is-trusted"),
        pytest.param("api.openai.com", "openai", False, "openai", id="as-the-host-is"),
        pytest.param("gpu.example", "vllm", False, "vllm", id="of-a-host-that-nobody-knows"),
        pytest.param("api.openai.com", "", False, "", id="none"),
    ],
)
def test_who_is_not_trusted_names_no_other_provider(
    host: str, hint: str, trusted: bool, kept: str
) -> None:
    asked = replace(head(), host=host, provider_hint=hint)
    found = believed(asked, HostTable({}), lambda _peer: trusted)
    assert found.provider_hint == kept
    assert found == replace(asked, provider_hint=kept)
