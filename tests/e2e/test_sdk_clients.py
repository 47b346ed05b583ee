"""Unmodified clients from the package indexes, proxied by environment variables alone."""

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from llmtrace.testing.processes import GatewayProcess, Program, Way
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.serving import Call

pytestmark = pytest.mark.realclients

SCRIPTS = Path(__file__).parent / "clients"
KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-fake",
    "OPENAI_API_KEY": "sk-fake",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "PYTHONHASHSEED": "0",  # botocore writes a set into its User-Agent
}
TOOL = 'tool_call=run_shell {"command":"ls"}'
COUNTS = "chunks=4 input_tokens=31 output_tokens=17"
SECONDS = 20


@dataclass(frozen=True, kw_only=True)
class Case:
    """One program's call, and what its trace must say."""

    program: str
    name: str
    provider: str
    dialect: str
    model: str
    stream: bool = False
    script: str = COUNTS
    tokens: tuple[int | None, int | None] = (31, 17)
    status: int = 200

    @property
    def id(self) -> str:
        """As it reads in a test's name."""
        return f"{self.program}-{self.name}"

    @property
    def prompt(self) -> str:
        """What the program asks."""
        hold = " hold=1" if self.stream else ""
        return f"@script: {self.script}{hold}"


def _python(name: str, dialect: str, model: str, provider: str = "", **more: Any) -> Case:
    owner = provider or dialect.partition(".")[0]
    return Case(program="python", name=name, provider=owner, dialect=dialect, model=model, **more)


def _other(program: str, name: str, dialect: str, model: str, **more: Any) -> Case:
    owner = dialect.partition(".")[0]
    return Case(program=program, name=name, provider=owner, dialect=dialect, model=model, **more)


CHAT, RESPONSES, ANTHROPIC = "openai.chat", "openai.responses", "anthropic.messages"
GPT, GPT5, SONNET, FLASH = "gpt-4o", "gpt-5", "claude-sonnet-4-5", "gemini-2.5-flash"
BEDROCK = "anthropic.claude-3-5-sonnet-20241022-v2:0"
CASES = (
    _python("openai_chat", CHAT, GPT),
    _python("openai_chat_tool", CHAT, GPT, script=f"{COUNTS} {TOOL}"),
    _python("openai_chat_async", CHAT, GPT),
    _python("openai_chat_stream", CHAT, GPT, stream=True),
    _python("openai_chat_stream_async", CHAT, GPT, stream=True, tokens=(None, None)),
    _python("openai_chat_stream_without_usage", CHAT, GPT, stream=True, tokens=(None, None)),
    _python("openai_responses", RESPONSES, GPT5),
    _python("openai_responses_stream", RESPONSES, GPT5, stream=True),
    _python("openai_embeddings", "openai.embeddings", "text-embedding-3-small", tokens=(31, 0)),
    _python("openai_realtime", "openai.realtime", "gpt-realtime", stream=True, status=101),
    _python("azure_chat", CHAT, "my-deployment", "azure"),
    _python("anthropic_messages", ANTHROPIC, SONNET),
    _python("anthropic_messages_async", ANTHROPIC, SONNET),
    _python("anthropic_messages_stream", ANTHROPIC, SONNET, stream=True),
    _python("anthropic_tool_stream", ANTHROPIC, SONNET, script=f"{COUNTS} {TOOL}"),
    _python(
        "anthropic_error", ANTHROPIC, SONNET, script="status=529", status=529, tokens=(None, None)
    ),
    _python("gemini_generate", "gemini.generate", FLASH),
    _python("gemini_stream", "gemini.generate", FLASH, stream=True),
    _python("gemini_async", "gemini.generate", FLASH),
    _python("vertex_generate", "gemini.generate", FLASH, "vertex"),
    _python("bedrock_converse", "bedrock.converse", BEDROCK),
    _python("bedrock_converse_stream", "bedrock.converse", BEDROCK, stream=True),
    _python("bedrock_invoke", "bedrock.invoke", BEDROCK),
    _python("bedrock_invoke_stream", "bedrock.invoke", BEDROCK, stream=True),
    _python("ollama_chat", "ollama.chat", "gpt-oss:20b"),
    _python("ollama_chat_stream", "ollama.chat", "gpt-oss:20b", stream=True),
    _python("ollama_generate", "ollama.generate", "gpt-oss:20b"),
    _python("mistral_chat", CHAT, "mistral-small-latest", "mistral"),
    _python(
        "mistral_stream", CHAT, "mistral-small-latest", "mistral", stream=True, tokens=(None, None)
    ),
    _python("groq_chat", CHAT, "llama-3.3-70b-versatile", "groq"),
    _python("requests_chat", CHAT, GPT),
    _python("aiohttp_chat", CHAT, GPT),
    _other("litellm", "litellm_openai", CHAT, GPT),
    _other("litellm", "litellm_anthropic_stream", ANTHROPIC, SONNET, stream=True),
    _other("node", "openai_chat", CHAT, GPT),
    _other("node", "openai_chat_stream", CHAT, GPT, stream=True),
    _other("node", "openai_responses_stream", RESPONSES, GPT5, stream=True),
    _other("node", "anthropic_messages", ANTHROPIC, SONNET),
    _other("node", "anthropic_messages_stream", ANTHROPIC, SONNET, stream=True),
    _other("node", "gemini_stream", "gemini.generate", FLASH, stream=True),
    _other("curl", "http1", CHAT, GPT),
    _other("curl", "http2", CHAT, GPT),
)


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a client got, and what the provider saw of it."""

    result: Mapping[str, Any]
    call: Call
    run: str = field(compare=False, default="")


def _command(case: Case, clients: Path) -> list[str]:
    if case.program == "curl":
        body = {"model": case.model, "messages": [{"role": "user", "content": case.prompt}]}
        return [
            *("curl", "--silent", "--show-error", f"--{case.name.replace('http1', 'http1.1')}"),
            *("--header", "content-type: application/json", "--data", json.dumps(body)),
            *("--header", "authorization: Bearer sk-fake"),
            *("--write-out", '\n{"event":"result","version":"%{http_version}"}\n'),
            "https://api.openai.com/v1/chat/completions",
        ]
    if case.program == "node":
        program = [str(clients / "bin" / "node"), str(SCRIPTS / "node_clients.cjs")]
    else:
        folder = clients / ("litellm" if case.program == "litellm" else "venv")
        program = [str(folder / "bin" / "python"), str(SCRIPTS / "python_clients.py")]
    return [*program, case.name, case.prompt]


def _base(clients: Path, folder: Path) -> dict[str, str]:
    """Return the environment of a client, whatever way it goes."""
    return {
        "HOME": str(folder),
        "PATH": os.environ["PATH"],
        "LANG": "C.UTF-8",
        "CLIENT_MODULES": str(clients / "npm"),
        **KEYS,
    }


def _use(case: Case, way: Way, provider: ScriptedProvider, clients: Path, folder: Path) -> Seen:
    """Run a case behind ``way``."""
    run = f"{case.id}-{folder.name}".replace("_", "-")
    environment = way.environment(run, _base(clients, folder))
    return _run(case, environment, provider, clients, folder, run)


def _run(
    case: Case,
    environment: Mapping[str, str],
    provider: ScriptedProvider,
    clients: Path,
    folder: Path,
    run: str,
) -> Seen:
    """Run a case; where it streams, show that nothing is held back."""
    provider.clear()
    program = Program(_command(case, clients), environment, folder=folder)
    if case.stream:
        first = program.line(SECONDS)
        states = [call.outcome for call in provider.model_calls]
        provider.release()
        assert (first or "").replace(" ", "") == '{"event":"first"}', (
            f"no first piece before the provider's second chunk, but {first!r}; {program.errors}"
        )
        assert states == ["open"]
    output = program.rest(SECONDS)
    assert program.end() == 0, program.errors
    result = json.loads(output.splitlines()[-1]) if output else {}
    assert result.pop("event", "") == "result", program.errors
    [call] = provider.model_calls
    return Seen(result=result, call=call, run=run)


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_client_is_served_without_a_gateway(
    case: Case, direct: Way, provider: ScriptedProvider, clients: Path, tmp_path: Path
) -> None:
    assert _use(case, direct, provider, clients, tmp_path).result


def _headers(call: Call) -> dict[str, str]:
    """Return the headers that must not differ: all but those of one connection or moment."""
    varying = {
        *("host", "connection", "x-amz-date", "amz-sdk-invocation-id", "authorization"),
        *("sec-websocket-key", "traceparent", "x-client-request-id", "idempotency-key"),
        *("proxy-authorization", "proxy-connection", "accept-encoding"),
    }
    found = {name.lower(): value for name, value in call.headers}
    return {name: value for name, value in found.items() if name not in varying}


@pytest.mark.parametrize("case", CASES, ids=[case.id for case in CASES])
def test_a_client_notices_nothing_of_the_gateway(
    case: Case,
    direct: Way,
    behind: Way,
    gateway: GatewayProcess,
    provider: ScriptedProvider,
    clients: Path,
    tmp_path: Path,
) -> None:
    folders = [tmp_path / "direct", tmp_path / "behind"]
    for folder in folders:
        folder.mkdir()
    without = _use(case, direct, provider, clients, folders[0])
    seen = _use(case, behind, provider, clients, folders[1])
    assert seen.result == without.result
    assert seen.call.body == without.call.body
    assert _headers(seen.call) == _headers(without.call)
    assert (seen.call.method, seen.call.target) == (without.call.method, without.call.target)
    [row] = gateway.traces(run=seen.run, count=1)
    _check(row, case)


def _check(row: Mapping[str, Any], case: Case) -> None:
    """The trace says what happened."""
    told = {key: row[key] for key in ("provider", "dialect", "model", "status")}
    assert told == {
        "provider": case.provider,
        "dialect": case.dialect,
        "model": case.model,
        "status": case.status,
    }
    if case.tokens != (None, None):
        assert (row["input_tokens"], row["output_tokens"]) == case.tokens
    if case.stream:
        assert row["ttft_ms"] is not None


BY_BASE_URL = [
    case
    for case in CASES
    if case.program in {"python", "node"}
    and case.name.startswith(("openai_chat", "openai_responses", "anthropic_messages"))
]


@pytest.mark.parametrize("case", BY_BASE_URL, ids=[case.id for case in BY_BASE_URL])
def test_a_client_is_read_by_its_base_url_alone(
    case: Case, gateway: GatewayProcess, provider: ScriptedProvider, clients: Path, tmp_path: Path
) -> None:
    agent = f"base-url-{case.id}".replace("_", "-")
    attribution = f"X-LLMTrace-Agent-ID: {agent}"
    environment = {
        **_base(clients, tmp_path),
        "OPENAI_BASE_URL": f"{gateway.reverse_url}/openai/v1",
        "OPENAI_CUSTOM_HEADERS": attribution,
        "ANTHROPIC_BASE_URL": f"{gateway.reverse_url}/anthropic",
        "ANTHROPIC_CUSTOM_HEADERS": attribution,
    }
    seen = _run(case, environment, provider, clients, tmp_path, agent)
    assert not [name for name, _ in seen.call.headers if name.lower().startswith("x-llmtrace")]
    [row] = gateway.traces(agent=agent, count=1)
    _check(row, case)
    assert row["mode"] == "reverse"
