"""What the scripted provider plays, the gateway's own dialects must read: each way, every format.

Two implementations that know nothing of each other, both from the providers' documentation.
"""

import json
from typing import Any

import pytest

from llmtrace.domain.answers import Answer, ChannelKind
from llmtrace.providers import registry
from llmtrace.providers.base import Target
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.detect import route
from llmtrace.providers.framing.registry import framing_for
from llmtrace.providers.hosts import default_hosts
from llmtrace.providers.usage import read_usage
from llmtrace.testing import routes
from llmtrace.testing.script import DEFAULT_TEXT, Script, ScriptedTool
from llmtrace.testing.wire import Reply, Request

CLAUDE = "anthropic.claude-3-5-sonnet-20241022-v2:0"
WITH_USAGE = {"stream": True, "stream_options": {"include_usage": True}}
# dialect, host, path of the whole answer, path of the stream if another, what its body adds
FORMATS: dict[str, tuple[str, str, str, dict[str, Any]]] = {
    "openai.chat": ("api.openai.com", "/v1/chat/completions", "", WITH_USAGE),
    "openai.completions": ("api.openai.com", "/v1/completions", "", WITH_USAGE),
    "openai.responses": ("api.openai.com", "/v1/responses", "", {"stream": True}),
    "anthropic.messages": ("api.anthropic.com", "/v1/messages", "", {"stream": True}),
    "gemini.generate": (
        "generativelanguage.googleapis.com",
        "/v1beta/models/gemini-2.5-flash:generateContent",
        "/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        {},
    ),
    "bedrock.converse": (
        "bedrock-runtime.us-east-1.amazonaws.com",
        f"/model/{CLAUDE}/converse",
        f"/model/{CLAUDE}/converse-stream",
        {},
    ),
    "bedrock.invoke": (
        "bedrock-runtime.us-east-1.amazonaws.com",
        f"/model/{CLAUDE}/invoke",
        f"/model/{CLAUDE}/invoke-with-response-stream",
        {},
    ),
    "ollama.chat": ("ollama.com", "/api/chat", "", {"stream": True}),
    "ollama.generate": ("ollama.com", "/api/generate", "", {"stream": True}),
    "cohere.chat": ("api.cohere.com", "/v2/chat", "", {"stream": True}),
}
WITHOUT_TOOLS = {"openai.completions", "ollama.generate"}


def played(name: str, script: Script, *, stream: bool, alt: str = "") -> tuple[Reply, str]:
    """Return what the provider answers, and the path it was asked at."""
    _, whole, streamed, added = FORMATS[name]
    path = (streamed or whole) if stream else whole
    body = {"model": "m", **(added if stream else {"stream": False})}
    request = Request(
        method="POST", path=path, query={"alt": alt}, body=json.dumps(body).encode(), id="1"
    )
    endpoint = routes.find("POST", path)
    assert endpoint is not None
    assert endpoint.dialect.name == name
    return endpoint.answer(request, script), path


def read(name: str, reply: Reply) -> Answer:
    """Read a reply as the gateway does."""
    dialect, collector = registry.dialect(name), AnswerCollector()
    if reply.streamed:
        framing = framing_for(dict(reply.headers)["content-type"], dialect=name)
        assert framing is not None
        reader = dialect.reader()
        for chunk in reply.chunks:
            for frame in framing.receive(chunk.data):
                collector.add(reader.receive(frame))
        for frame in framing.close():
            collector.add(reader.receive(frame))
        collector.add(reader.close())
    else:
        collector.add(dialect.answer(json.loads(reply.body)))
    return collector.answer()


def text(answer: Answer, kind: ChannelKind) -> str:
    """Return the first choice's text of one kind, its blocks in order."""
    channels = sorted((c.index, c) for c in answer.texts if (c.choice, c.kind) == (0, kind))
    return "".join(answer.texts[channel] for _, channel in channels)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_text_and_usage_are_read(name: str, stream: bool) -> None:
    script = Script(chunks=3, input_tokens=31, output_tokens=17)
    reply, path = played(name, script, stream=stream)
    answer = read(name, reply)
    assert text(answer, ChannelKind.TEXT) == DEFAULT_TEXT
    assert answer.complete
    assert answer.unread == ()
    assert answer.usage is not None
    host = FORMATS[name][0]
    found = route(Target(method="POST", host=host, path=path), hosts=default_hosts())
    assert found.dialect == name
    usage = read_usage(found.provider, name, answer.usage, answer.model)
    assert usage is not None
    assert (usage.input_tokens, usage.output_tokens) == (31, 17)


@pytest.mark.parametrize("name", sorted(set(FORMATS) - WITHOUT_TOOLS))
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_tool_calls_are_read(name: str, stream: bool) -> None:
    tool = ScriptedTool(name="run_shell", arguments='{"command": "ls"}')
    reply, _ = played(name, Script(tool_calls=(tool,)), stream=stream)
    [call] = read(name, reply).tool_calls
    assert (call.name, json.loads(call.arguments)) == ("run_shell", {"command": "ls"})


def test_both_streams_of_gemini_say_the_same() -> None:
    answers = [
        read("gemini.generate", played("gemini.generate", Script(), stream=True, alt=alt)[0])
        for alt in ("sse", "")
    ]
    assert answers[0] == answers[1]
