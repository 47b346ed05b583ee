"""Bedrock's requests are read by their shape, and its errors are what AWS's SDK takes for one."""

import json
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer  # type: ignore[import-untyped]  # no stubs exist

from llmtrace.domain.parts import MediaKind, Origin, Role
from llmtrace.providers.base import Json, Route
from llmtrace.providers.bedrock import BedrockConverse, BedrockInvoke
from llmtrace.providers.framing.event_stream import EventStreamFraming
from llmtrace.providers.framing.writers import message as event_message

CONVERSE, INVOKE = BedrockConverse(), BedrockInvoke()
ROUTE = Route(
    provider="bedrock", dialect="bedrock.invoke", operation="chat", model="m", stream=True
)


def test_a_document_is_typed_read_and_not_trusted() -> None:
    block: Json = {"document": {"format": "txt", "name": "n", "source": {"bytes": "aGlkZGVu"}}}
    view = CONVERSE.request({"messages": [{"role": "user", "content": [block]}]}, ROUTE)
    assert [(m.kind, m.mime, m.size) for m in view.media] == [(MediaKind.FILE, "text/plain", 6)]
    assert [(p.text, p.origin) for p in view.parts] == [
        ("n", Origin.UNTRUSTED),
        ("hidden", Origin.UNTRUSTED),
    ]


def test_the_path_names_model_and_stream() -> None:
    view = CONVERSE.request({"inferenceConfig": {"maxTokens": 9}}, ROUTE)
    assert (view.model, view.stream, view.max_output_tokens) == ("m", True, 9)


def test_cache_points_are_no_tools() -> None:
    tools: Json = [{"toolSpec": {"name": "f"}}, {"cachePoint": {"type": "default"}}]
    view = CONVERSE.request({"toolConfig": {"tools": tools}}, ROUTE)
    assert [tool.name for tool in view.tools] == ["f"]
    assert [p.text for p in view.parts] == ["f"]


@pytest.mark.parametrize(
    ("body", "said", "limit"),
    [
        pytest.param(
            {
                "anthropic_version": "bedrock-2023-05-31",
                "max_tokens": 5,
                "system": "s",
                "messages": [{"role": "user", "content": [{"type": "text", "text": "u"}]}],
            },
            [(Role.SYSTEM, "s"), (Role.USER, "u")],
            5,
            id="anthropic",
        ),
        pytest.param(
            {
                "schemaVersion": "messages-v1",
                "system": [{"text": "s"}],
                "messages": [{"role": "user", "content": [{"text": "u"}]}],
                "inferenceConfig": {"maxTokens": 5},
            },
            [(Role.SYSTEM, "s"), (Role.USER, "u")],
            5,
            id="nova",
        ),
        pytest.param(
            {"messages": [{"role": "user", "content": [{"text": "u"}]}]},
            [(Role.USER, "u")],
            None,
            id="nova-without-version",
        ),
        pytest.param(
            {"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "u"}]},
            [(Role.SYSTEM, "s"), (Role.USER, "u")],
            None,
            id="chat",
        ),
        pytest.param({"prompt": "u", "max_gen_len": 5}, [(Role.USER, "u")], 5, id="llama"),
        pytest.param({"prompt": "u", "max_tokens": 5}, [(Role.USER, "u")], 5, id="mistral"),
        pytest.param(
            {"inputText": "u", "textGenerationConfig": {"maxTokenCount": 5}},
            [(Role.USER, "u")],
            5,
            id="titan",
        ),
        pytest.param(
            {"message": "u", "preamble": "s", "max_tokens": 5},
            [(Role.USER, "u"), (Role.SYSTEM, "s")],
            5,
            id="cohere",
        ),
        pytest.param(
            {"texts": ["u"], "input_type": "search_query"}, [(Role.USER, "u")], None, id="embed"
        ),
    ],
)
def test_a_model_s_own_format_is_told_by_its_shape(
    body: Json, said: list[tuple[Role, str]], limit: int | None
) -> None:
    view = INVOKE.request(body, ROUTE)
    assert [(part.role, part.text) for part in view.parts] == said
    assert (view.max_output_tokens, view.model, view.stream) == (limit, "m", True)


@pytest.mark.parametrize(
    "body", [None, 1, "x y", [], {"messages": 1}, {"messages": [1, None]}], ids=repr
)
def test_a_body_of_no_shape_is_read(body: Json) -> None:
    view = INVOKE.request(body, ROUTE)
    assert [part.text for part in view.parts] == (["x y"] if isinstance(body, str) else [])


@pytest.mark.parametrize(
    ("status", "name"),
    [
        (400, "ValidationException"),
        (429, "ThrottlingException"),
        (413, "ValidationException"),
        (500, "InternalServerException"),
    ],
)
def test_a_refusal_is_named_where_sdks_look(status: int, name: str) -> None:
    body = json.loads(CONVERSE.refusal(status=status, code="c", message="No."))
    assert body == {"__type": name, "message": "No."}


def oracle(data: bytes) -> list[dict[str, Any]]:
    buffer = EventStreamBuffer()
    buffer.add_data(data)
    return [message.to_response_dict() for message in buffer]


@pytest.mark.parametrize(
    ("code", "name"),
    [("llmtrace_policy_violation", "validationException"), ("x", "internalServerException")],
)
def test_a_stream_error_is_an_exception_to_the_sdk(code: str, name: str) -> None:
    (message,) = oracle(INVOKE.stream_error(code=code, message="Nö."))
    assert message["headers"][":exception-type"] == name
    assert message["headers"][":message-type"] == "exception"
    assert message["status_code"] == 400  # what the SDK makes of an exception: it raises
    assert json.loads(message["body"]) == {"message": "Nö."}


def test_a_message_is_read_again_as_it_was_written() -> None:
    headers = {":event-type": "chunk", ":message-type": "event", "x": "ü" * 300}
    (frame,) = EventStreamFraming().receive(event_message(headers, b"{}"))
    assert (dict(frame.headers), frame.data, frame.event) == (headers, b"{}", "chunk")
