"""A short scenario as an agent would play it: six calls in six wire formats, through a proxy.

The requests are what clients send; the keys are made up. Each prompt carries the directive that
tells the scripted provider what to answer, so a scenario needs no queue and no order.
"""

import ssl
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import urlsplit

import httpx2

from llmtrace.domain.answers import AnswerEvent, ChannelKind, TextDelta, ToolCall
from llmtrace.domain.findings import Verdict
from llmtrace.providers import registry
from llmtrace.providers.base import Framing
from llmtrace.providers.collector import AnswerCollector
from llmtrace.providers.framing.registry import framing_for
from llmtrace.testing.wire import compact

_SECONDS: Final = 30.0
_PACE: Final = "@script: delay_ms=40 first_delay_ms=150"


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call. ``headers`` are those of the provider's own client; ``title`` is for people.

    ``verdict`` is what the preset ``balanced`` makes of it.
    """

    title: str
    dialect: str
    url: str
    body: Mapping[str, Any]
    headers: Mapping[str, str] = field(default_factory=dict)
    verdict: Verdict = Verdict.ALLOW

    @property
    def host(self) -> str:
        """The provider's host."""
        return urlsplit(self.url).hostname or ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepResult:
    """What a client saw of one step. Times are in milliseconds, from the moment of sending.

    ``trace_id`` is the gateway's ``X-LLMTrace-Trace-ID``, empty without a gateway; ``error`` is
    empty where the call succeeded.
    """

    step: Step
    status: int = 0
    text: str = ""
    tool_calls: tuple[ToolCall, ...] = ()
    chunks: int = 0
    first_byte_ms: float = 0.0
    duration_ms: float = 0.0
    trace_id: str = ""
    error: str = ""


type OnText = Callable[[Step, str], None]
"""Told of each piece of text as it arrives."""


def _words(text: str) -> str:
    return f'{_PACE} text="{text}"'


STEPS: Final[tuple[Step, ...]] = (
    Step(
        title="Claude explains, streamed",
        dialect="anthropic.messages",
        url="https://api.anthropic.com/v1/messages",
        headers={"x-api-key": "sk-ant-demo", "anthropic-version": "2023-06-01"},
        body={
            "model": "claude-sonnet-4-5",
            "max_tokens": 512,
            "stream": True,
            "system": "You are a careful release engineer.",
            "messages": [
                {
                    "role": "user",
                    "content": "Why did the nightly build fail? "
                    + _words(
                        "The build failed because a test waited for a clock that never ticked. "
                        "I will look at the log before I change anything."
                    )
                    + " input_tokens=1840 output_tokens=31 cached=1500",
                }
            ],
        },
    ),
    Step(
        title="GPT asks for a command",
        dialect="openai.chat",
        url="https://api.openai.com/v1/chat/completions",
        headers={"authorization": "Bearer sk-demo"},
        body={
            "model": "gpt-4o",
            "messages": [
                {
                    "role": "user",
                    "content": "How does the build log end? @script: input_tokens=320 "
                    'output_tokens=24 tool_call=run_shell {"command": "tail -n 20 build.log"}',
                }
            ],
            "tools": [
                {
                    "type": "function",
                    "function": {
                        "name": "run_shell",
                        "description": "Run a command and return what it prints.",
                        "parameters": {
                            "type": "object",
                            "properties": {"command": {"type": "string"}},
                            "required": ["command"],
                        },
                    },
                }
            ],
        },
    ),
    Step(
        title="GPT summarises, streamed",
        dialect="openai.responses",
        url="https://api.openai.com/v1/responses",
        headers={"authorization": "Bearer sk-demo"},
        body={
            "model": "gpt-5",
            "stream": True,
            "input": "Summarise the log in one sentence. "
            + _words("One test of forty waited sixty seconds and was stopped.")
            + " input_tokens=690 output_tokens=18 reasoning_tokens=6",
        },
    ),
    Step(
        title="Gemini checks, streamed",
        dialect="gemini.generate",
        url="https://generativelanguage.googleapis.com/v1beta/models/"
        "gemini-2.5-flash:streamGenerateContent?alt=sse",
        headers={"x-goog-api-key": "demo"},
        body={
            "contents": [
                {
                    "role": "user",
                    "parts": [
                        {
                            "text": "Is the fix safe? "
                            + _words("Yes: it replaces a wait by an event.")
                            + " input_tokens=410 output_tokens=12"
                        }
                    ],
                }
            ]
        },
    ),
    Step(
        title="Claude on Bedrock reviews, streamed",
        dialect="bedrock.converse",
        url="https://bedrock-runtime.us-east-1.amazonaws.com/model/"
        "anthropic.claude-3-5-sonnet-20241022-v2%3A0/converse-stream",
        headers={"authorization": "Bearer bedrock-api-key-demo"},
        body={
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {
                            "text": "Review the change. "
                            + _words("Looks right; add a test that fails without it.")
                            + " input_tokens=530 output_tokens=14"
                        }
                    ],
                }
            ],
            "inferenceConfig": {"maxTokens": 256},
        },
    ),
    Step(
        title="An open model words the note, streamed",
        dialect="ollama.chat",
        url="https://ollama.com/api/chat",
        headers={"authorization": "Bearer demo"},
        body={
            "model": "gpt-oss:20b",
            "messages": [
                {
                    "role": "user",
                    "content": "Word the release note. "
                    + _words("The nightly build no longer waits for a clock.")
                    + " input_tokens=120 output_tokens=11",
                }
            ],
        },
    ),
)

HOSTS: Final = tuple(dict.fromkeys(step.host for step in STEPS))
"""The hosts that a gateway's ``upstreams`` must map to the scripted provider."""


class _Reading:
    """Reads one answer as it comes, for the text in it."""

    def __init__(self, step: Step, on_text: OnText | None) -> None:
        self._step = step
        self._on_text = on_text
        self._dialect = registry.dialect(step.dialect)
        self._reader = self._dialect.reader()
        self._answer = AnswerCollector()
        self._texts: list[str] = []

    def stream(self, chunks: Iterable[bytes], framing: Framing) -> int:
        """Read a stream to its end; return how many chunks it came in."""
        count = 0
        for chunk in chunks:
            count += 1
            for frame in framing.receive(chunk):
                self._take(self._reader.receive(frame))
        return count

    def whole(self, body: Any) -> None:
        """Read an answer that came whole."""
        self._take(self._dialect.answer(body))

    def _take(self, events: Sequence[AnswerEvent]) -> None:
        self._answer.add(events)
        for event in events:
            if isinstance(event, TextDelta) and event.channel.kind is ChannelKind.TEXT:
                self._texts.append(event.text)
                if self._on_text is not None:
                    self._on_text(self._step, event.text)

    @property
    def error(self) -> str:
        failed = self._answer.answer().error
        return failed.message if failed else ""

    @property
    def text(self) -> str:
        return "".join(self._texts)

    @property
    def tools(self) -> tuple[ToolCall, ...]:
        return self._answer.answer().tool_calls


def _status_error(status: int) -> str:
    return "" if status == 200 else f"status {status}"


def _run_step(client: httpx2.Client, step: Step, on_text: OnText | None) -> StepResult:
    reading, started = _Reading(step, on_text), time.monotonic()

    def elapsed() -> float:
        return (time.monotonic() - started) * 1000

    headers = {"content-type": "application/json", **step.headers}
    try:
        with client.stream(
            "POST", step.url, content=compact(dict(step.body)), headers=headers
        ) as response:
            first = elapsed()
            framing = framing_for(response.headers.get("content-type", ""), dialect=step.dialect)
            if framing is not None and response.status_code == 200:
                chunks = reading.stream(response.iter_bytes(), framing)
            else:
                response.read()
                chunks = 1
                reading.whole(response.json())
            return StepResult(
                step=step,
                status=response.status_code,
                text=reading.text,
                tool_calls=reading.tools,
                chunks=chunks,
                first_byte_ms=first,
                duration_ms=elapsed(),
                trace_id=response.headers.get("x-llmtrace-trace-id", ""),
                error=reading.error or _status_error(response.status_code),
            )
    except (httpx2.HTTPError, ValueError) as error:
        return StepResult(
            step=step, duration_ms=elapsed(), error=f"{type(error).__name__}: {error}"
        )


def run_scenario(
    proxy_url: str,
    ca_pem: bytes | str,
    on_text: OnText | None = None,
    *,
    steps: Iterable[Step] = STEPS,
) -> list[StepResult]:
    """Send ``steps`` one after another through a proxy, as a client on the agent's machine would.

    Args:
        proxy_url: What ``HTTPS_PROXY`` would say; a userinfo is sent on CONNECT.
        ca_pem: PEM of the only roots that are trusted.
        on_text: Called with each piece of text in the moment it arrives.
        steps: What to send.

    Returns:
        One result for each step. A call that fails is a result with an error; nothing is raised.
    """
    context = ssl.create_default_context(
        cadata=ca_pem if isinstance(ca_pem, str) else ca_pem.decode()
    )
    with httpx2.Client(
        proxy=proxy_url, verify=context, trust_env=False, timeout=_SECONDS
    ) as client:
        return [_run_step(client, step, on_text) for step in steps]
