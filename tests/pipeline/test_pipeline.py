"""What the pipeline decides by itself; its way through a worker is tested with the gateway."""

import gc
import weakref
from datetime import UTC, datetime

import pytest

from llmtrace.domain.traces import Outcome, PlanWindow
from llmtrace.pipeline import Bounds, Call, Pipeline, Refusal, RequestHead
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.identity import Identifier
from llmtrace.providers.hosts import HostTable
from llmtrace.providers.jsongate import JsonLimits
from llmtrace.testing.inprocess import RememberingJournal

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def head(
    body_type: str = "application/json",
    *,
    path: str = "/v1/chat/completions",
    host: str = "api.openai.com",
    port: int = 443,
    headers: tuple[tuple[str, str], ...] = (),
) -> RequestHead:
    return RequestHead(
        method="POST",
        host=host,
        port=port,
        path=path,
        headers=(("content-type", body_type), *headers),
        peer="127.0.0.1",
        mode="forward",
        started_at=NOON,
        started=0.0,
    )


@pytest.fixture
def journal() -> RememberingJournal:
    return RememberingJournal()


@pytest.fixture
def pipeline(journal: RememberingJournal) -> Pipeline:
    return Pipeline(
        hosts=HostTable({"models.local:11434": "ollama"}),
        identifier=Identifier(secret=b"s", trusted=["127.0.0.0/8"]),
        prices=None,
        journal=journal,
        bounds=Bounds(
            decoded_bytes=1 << 20,
            decoded_ratio=100,
            answer_bytes=1 << 20,
            frame_bytes=1 << 20,
            json=JsonLimits(),
        ),
        counters=Counters(),
    )


def begun(pipeline: Pipeline, where: RequestHead) -> Call:
    call = pipeline.identify(where)
    assert isinstance(call, Call)
    return call


@pytest.mark.parametrize(
    ("body_type", "body", "gap"),
    [
        pytest.param(
            "multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--", "not_json", id="form"
        ),
        pytest.param("application/x-protobuf", b"\x0a\x03abc", "not_json", id="binary"),
        pytest.param("application/json", b'{"a": ', "bad_json", id="broken-json"),
    ],
)
async def test_a_body_that_is_no_json_passes_an_unknown_route_and_is_told(
    pipeline: Pipeline, body_type: str, body: bytes, gap: str
) -> None:
    call = begun(pipeline, head(body_type, path="/v1/unheard_of"))
    assert await pipeline.inspect(call, body) is None
    assert [(g.reason, g.size) for g in call.gaps] == [(gap, len(body))]


async def test_json_under_another_type_is_read_all_the_same(pipeline: Pipeline) -> None:
    call = begun(pipeline, head("text/plain", path="/v1/unheard_of"))
    assert await pipeline.inspect(call, b' {"hidden": "read me"}') is None
    assert [part.text for part in call.view.parts] == ["read me"]
    assert call.gaps == []


async def test_a_duplicate_key_is_refused_on_an_unknown_route_too(
    pipeline: Pipeline, journal: RememberingJournal
) -> None:
    call = begun(pipeline, head(path="/v1/unheard_of"))
    refusal = await pipeline.inspect(call, b'{"a":"x","a":"y"}')
    assert isinstance(refusal, Refusal)
    assert journal.outcomes() == [Outcome.REFUSED]
    assert journal.begun == []


async def test_a_large_body_is_read_in_a_thread_with_the_same_result(pipeline: Pipeline) -> None:
    call = begun(pipeline, head())
    text = "x" * 100_000
    body = b'{"model":"m","messages":[{"role":"user","content":"%s"}]}' % text.encode()
    assert await pipeline.inspect(call, body) is None
    assert [part.text for part in call.view.parts] == [text]


async def test_media_is_counted_as_unread(pipeline: Pipeline) -> None:
    call = begun(pipeline, head())
    body = (
        b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url",'
        b'"image_url":{"url":"data:image/png;base64,iVBORw0KGgo="}}]}]}'
    )
    assert await pipeline.inspect(call, body) is None
    assert [gap.reason for gap in call.gaps] == ["media"]
    assert call.trace.media[0].sha256


def test_a_port_tells_a_self_hosted_provider(pipeline: Pipeline) -> None:
    call = begun(pipeline, head(host="models.local", port=11434, path="/api/chat"))
    assert (call.trace.provider, call.trace.dialect) == ("ollama", "ollama.chat")


def test_an_identity_that_is_no_name_is_refused(pipeline: Pipeline) -> None:
    refusal = pipeline.identify(head(headers=(("X-LLMTrace-Agent-ID", "a b"),)))
    assert isinstance(refusal, Refusal)
    assert (refusal.status, refusal.code) == (400, "bad_identity")


async def test_a_call_is_settled_once(pipeline: Pipeline, journal: RememberingJournal) -> None:
    call = begun(pipeline, head())
    await pipeline.finish(call, outcome=Outcome.CLIENT_LEFT)
    await pipeline.finish(call)
    assert journal.outcomes() == [Outcome.CLIENT_LEFT]


async def test_a_key_in_a_body_is_in_no_record(
    pipeline: Pipeline, journal: RememberingJournal
) -> None:
    call = begun(pipeline, head(path="/v1/responses"))
    body = (
        b'{"model":"gpt-5","input":"hi","tools":[{"type":"mcp","server_label":"s",'
        b'"server_url":"https://mcp.example.com","authorization":"mcp-planted-0001",'
        b'"headers":{"X-Key":"mcp-planted-0002"}}]}'
    )
    assert await pipeline.inspect(call, body) is None
    await pipeline.finish(call, outcome=Outcome.OK)
    kept = repr(journal.begun) + repr(journal.ended)
    assert "mcp-planted" not in kept
    assert "[credential]" in kept


async def test_a_call_under_a_subscription_tells_how_much_of_it_is_used(
    pipeline: Pipeline, journal: RememberingJournal
) -> None:
    login = ("Authorization", "Bearer sk-ant-oat01-" + "x" * 40)
    call = begun(pipeline, head(host="api.anthropic.com", path="/v1/messages", headers=(login,)))
    body = (
        b'{"model":"claude-sonnet-4-5","max_tokens":9,"messages":[{"role":"user","content":"x"}]}'
    )
    assert await pipeline.inspect(call, body) is None
    windows = {"anthropic-ratelimit-unified-5h-utilization": "0.36", "content-type": "text/plain"}
    pipeline.answer(call, status=200, headers=windows)
    await pipeline.finish(call)
    trace = journal.ended[-1].trace
    assert trace.plan == "claude-subscription"
    assert trace.plan_windows == (PlanWindow(name="5h", used=0.36),)


async def test_a_call_by_key_is_under_no_plan(pipeline: Pipeline) -> None:
    call = begun(pipeline, head(headers=(("Authorization", "Bearer sk-proj-" + "x" * 40),)))
    pipeline.answer(call, status=200, headers={"x-codex-primary-used-percent": "5"})
    assert (call.trace.plan, call.trace.plan_windows) == ("", ())


async def test_a_call_and_what_reads_its_answer_are_freed_together(pipeline: Pipeline) -> None:
    call = begun(pipeline, head())
    assert await pipeline.inspect(call, b'{"model":"m","messages":[]}') is None
    tap = pipeline.answer(call, status=200, headers={"content-type": "text/event-stream"})
    tap.receive(b'data: {"choices":[{"delta":{"content":"hi"}}]}\n\n')
    await pipeline.finish(call)
    assert call.first_word.at is not None
    gone = weakref.ref(tap)
    gc.disable()
    try:
        del call, tap
        assert gone() is None
    finally:
        gc.enable()
