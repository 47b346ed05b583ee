"""Scripted answers of every dialect, and what becomes of them in the gate."""

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

from llmtrace.domain.answers import Answer, AnswerEvent, ChannelKind
from llmtrace.pipeline.streaming import AnswerGate
from llmtrace.providers.base import Frame
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.framing.registry import framing_for
from llmtrace.providers.registry import dialect as dialect_named
from llmtrace.testing.judges import PatternJudge
from llmtrace.testing.routes import find
from llmtrace.testing.script import Script
from llmtrace.testing.wire import Request

BEDROCK: Final = "/model/anthropic.claude-3-5-sonnet/"
META: Final = "/model/meta.llama3-8b-instruct/"
GEMINI: Final = "/v1beta/models/gemini-2.5-flash:"


@dataclass(frozen=True)
class Case:
    """Where a dialect streams and where it answers whole, and what it can say beside text."""

    dialect: str
    stream: str
    whole: str
    query: dict[str, str] = field(default_factory=dict)
    tools: bool = True
    thinks: bool = True

    def answer(self, script: Script, *, streamed: bool) -> tuple[bytes, str]:
        """Return the body that a script makes, and its media type. Raises: LookupError."""
        path = self.stream if streamed else self.whole
        endpoint = find("POST", path)
        if endpoint is None:
            raise LookupError(f"{path} is not scripted")
        body = {"model": "m", "stream": streamed, "messages": [{"role": "user", "content": "Hi"}]}
        query = self.query if streamed else {}
        request = Request(method="POST", path=path, query=query, body=json.dumps(body).encode())
        reply = endpoint.answer(request, script)
        return reply.body, dict(reply.headers)["content-type"]


CASES: Final = {
    "openai.chat": Case("openai.chat", "/v1/chat/completions", "/v1/chat/completions"),
    "openai.completions": Case(
        "openai.completions", "/v1/completions", "/v1/completions", tools=False, thinks=False
    ),
    "openai.responses": Case("openai.responses", "/v1/responses", "/v1/responses"),
    "anthropic.messages": Case("anthropic.messages", "/v1/messages", "/v1/messages"),
    "gemini.generate": Case(
        "gemini.generate",
        f"{GEMINI}streamGenerateContent",
        f"{GEMINI}generateContent",
        {"alt": "sse"},
    ),
    "gemini.generate-array": Case(
        "gemini.generate", f"{GEMINI}streamGenerateContent", f"{GEMINI}generateContent"
    ),
    "bedrock.converse": Case("bedrock.converse", f"{BEDROCK}converse-stream", f"{BEDROCK}converse"),
    "bedrock.invoke": Case(
        "bedrock.invoke", f"{BEDROCK}invoke-with-response-stream", f"{BEDROCK}invoke"
    ),
    "bedrock.invoke-native": Case(
        "bedrock.invoke",
        f"{META}invoke-with-response-stream",
        f"{META}invoke",
        tools=False,
        thinks=False,
    ),
    "ollama.chat": Case("ollama.chat", "/api/chat", "/api/chat"),
    "ollama.generate": Case(
        "ollama.generate", "/api/generate", "/api/generate", tools=False, thinks=False
    ),
    "cohere.chat": Case("cohere.chat", "/v2/chat", "/v2/chat", thinks=False),
}


@dataclass
class Result:
    """What came out of the gate, all at once and by the bytes that went in."""

    out: bytes
    gate: AnswerGate
    judge: PatternJudge
    events: list[AnswerEvent]
    steps: list[bytes]

    @property
    def answer(self) -> Answer:
        """What a client reads of it."""
        return read(self.gate_dialect, self.out, self.media_type)

    gate_dialect: str = ""
    media_type: str = ""


def read(dialect: str, data: bytes, media_type: str) -> Answer:
    """Read what a client got."""
    collector = AnswerCollector()
    reader = dialect_named(dialect).reader()
    for frame in frames_of(dialect, data, media_type):
        collector.add(reader.receive(frame))
    collector.add(reader.close())
    return collector.answer()


def frames_of(dialect: str, data: bytes, media_type: str) -> list[Frame]:
    """Return the frames of a stream. Raises: ValueError."""
    framing = framing_for(media_type, dialect=dialect)
    if framing is None:
        raise ValueError(f"{media_type!r} is no stream")
    found = [*framing.receive(data), *framing.close()]
    if framing.pending:
        raise ValueError(f"{framing.pending} bytes belong to no frame")
    return found


def run(
    case: Case,
    script: Script,
    *,
    cuts: list[int] | None = None,
    change: Callable[[bytes], bytes] = bytes,
    **options: Any,
) -> Result:
    """Send a scripted stream through the gate, cut at some places, changed before that."""
    data, media_type = case.answer(script, streamed=True)
    data = change(data)
    judge, events = PatternJudge(), list[AnswerEvent]()
    gate = AnswerGate(
        dialect_named(case.dialect),
        judge,
        media_type=media_type,
        on_events=events.extend,
        **options,
    )
    edges = sorted({0, len(data), *(c % (len(data) + 1) for c in cuts or ())})
    steps = [gate.receive(data[a:b]) for a, b in itertools.pairwise(edges)]
    steps.append(gate.close())
    return Result(b"".join(steps), gate, judge, events, steps, case.dialect, media_type)


def texts(answer: Answer) -> dict[ChannelKind, str]:
    """Return what an answer says, by kind of channel."""
    said: dict[ChannelKind, str] = {}
    for channel, text in answer.texts.items():
        said[channel.kind] = said.get(channel.kind, "") + text
    return said
