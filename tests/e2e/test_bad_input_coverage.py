"""I3 on the way in: what a body says is in its parts, or the trace says that it was unread."""

import json
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from llmtrace.addons.gateway import Gateway
from llmtrace.pipeline import Call, Pipeline, RequestHead
from llmtrace.providers.leaves import words
from llmtrace.testing.inprocess import RememberingJournal, Worker, running_worker
from llmtrace.testing.provider import ScriptedProvider

ROUTES = {
    "openai.chat": ("api.openai.com", "/v1/chat/completions"),
    "openai.responses": ("api.openai.com", "/v1/responses"),
    "openai.embeddings": ("api.openai.com", "/v1/embeddings"),
    "openai.completions": ("api.openai.com", "/v1/completions"),
    "anthropic.messages": ("api.anthropic.com", "/v1/messages"),
    "gemini.generate": ("generativelanguage.googleapis.com", "/v1beta/models/g:generateContent"),
    "bedrock.converse": ("bedrock-runtime.us-east-1.amazonaws.com", "/model/m/converse"),
    "bedrock.invoke": ("bedrock-runtime.us-east-1.amazonaws.com", "/model/anthropic.m/invoke"),
    "ollama.chat": ("ollama.com", "/api/chat"),
    "ollama.generate": ("ollama.com", "/api/generate"),
    "generic": ("api.openai.com", "/v1/new_thing"),
}
KEYS = st.sampled_from(
    sorted(
        words(
            "messages role content text type input instructions tools name function arguments id "
            "parameters system image_url url source data media_type index message tool_calls "
            "contents parts prompt images options format model stream inlineData functionCall "
            "input_audio file file_data output summary document cache_control metadata zz_unknown"
        )
    )
)
WORDS = st.sampled_from(
    sorted(
        words(
            "text user assistant tool system image_url base64 tool_use tool_result message image "
            "input_text input_audio document file function_call function_call_output thinking"
        )
    )
)
SECRETS = st.integers(0, 10**6).map(lambda n: f"my number {n} is secret")
LEAVES = SECRETS | WORDS | st.booleans() | st.integers(-5, 5) | st.none()
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=5),
    max_leaves=25,
)
BODIES = st.dictionaries(KEYS, JSON, min_size=1, max_size=6)


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
async def worker(provider: ScriptedProvider, tmp_path: Path) -> AsyncIterator[Worker]:
    async with running_worker(tmp_path, provider) as running:
        yield running


def secrets_in(value: object) -> list[str]:
    if isinstance(value, dict):
        return [s for item in value.values() for s in secrets_in(item)]
    if isinstance(value, list):
        return [s for item in value for s in secrets_in(item)]
    return [value] if isinstance(value, str) and value.endswith("is secret") else []


def begin(pipeline: Pipeline, route: str) -> Call:
    host, path = ROUTES[route]
    call = pipeline.identify(
        RequestHead(
            method="POST",
            host=host,
            port=443,
            path=path,
            headers=(("content-type", "application/json"),),
            peer="127.0.0.1",
            mode="forward",
            started_at=datetime.now(UTC),
            started=0.0,
        )
    )
    assert isinstance(call, Call)
    return call


EVERY_CHECK = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]


@pytest.mark.parametrize("route", ROUTES)
def test_every_secret_of_a_request_is_in_a_part_or_told(worker: Worker, route: str) -> None:
    (gateway,) = [a for a in worker.master.addons.chain if isinstance(a, Gateway)]
    pipeline = gateway._pipeline
    assert isinstance(worker.journal, RememberingJournal)

    @settings(max_examples=50, deadline=None, suppress_health_check=EVERY_CHECK, database=None)
    @given(body=BODIES)
    def check(body: dict[str, object]) -> None:
        call = begin(pipeline, route)
        content = json.dumps(body).encode()
        running = pipeline.inspect(call, content)
        with pytest.raises(StopIteration) as end:  # small bodies wait for nothing
            running.send(None)
        refusal = end.value.value
        read = [part.text for part in call.view.parts]
        told = sum(gap.size for gap in call.gaps) + len(call.view.media)
        missing = [s for s in secrets_in(body) if not any(s in text for text in read)]
        assert refusal is not None or not missing or told, missing

    check()


@pytest.mark.parametrize("route", ROUTES)
def test_every_byte_of_an_answer_is_read_or_told(worker: Worker, route: str) -> None:
    (gateway,) = [a for a in worker.master.addons.chain if isinstance(a, Gateway)]
    pipeline = gateway._pipeline
    kinds = ["application/json", "text/event-stream", "application/x-ndjson", "text/html", ""]

    @settings(max_examples=40, deadline=None, suppress_health_check=EVERY_CHECK, database=None)
    @given(
        chunks=st.lists(st.binary(max_size=40) | JSON.map(lambda v: json.dumps(v).encode())),
        kind=st.sampled_from(kinds),
        coding=st.sampled_from(["", "gzip", "br", "x-own"]),
    )
    def check(chunks: list[bytes], kind: str, coding: str) -> None:
        call = begin(pipeline, route)
        headers = {"content-type": kind, "content-encoding": coding}
        tap = pipeline.answer(call, status=200, headers=headers)
        for chunk in chunks:
            tap.receive(chunk)
        tap.close()
        delivered = sum(map(len, chunks))
        told = sum(gap.size for gap in tap.gaps)
        assert tap.received == delivered
        assert tap.decoded >= delivered or told or not delivered or coding

    check()
