# ruff: noqa: E501 - tables are read row by row
"""A route is told under every spelling, and what nobody knows is read, never skipped."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.base import Json, Route, Target
from llmtrace.providers.detect import BadPath, canonical_path, route, route_table, split_reverse
from llmtrace.providers.hosts import HostTable, default_hosts
from llmtrace.providers.registry import DIALECTS

HOSTS = HostTable({"llm.corp.example": "vllm", "relay.example:8443": "my-relay"})


def told(
    path: str,
    host: str = "",
    *,
    method: str = "POST",
    hint: str = "",
    headers: dict[str, str] | None = None,
    body: Json = None,
) -> Route:
    target = Target(method=method, host=host, path=canonical_path(path), headers=headers or {})
    return route(target, provider_hint=hint, body=body, hosts=HOSTS)


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/v1//chat/completions", "/v1/chat/completions"),
        ("//v1/chat/completions", "/v1/chat/completions"),
        ("/v1/./chat/completions", "/v1/chat/completions"),
        ("/v1/%2e/chat/completions", "/v1/chat/completions"),
        ("/v1/%63hat/completions", "/v1/chat/completions"),
        ("/v1%2Fchat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions;x", "/v1/chat/completions"),
        ("/v1;a=b/chat/completions", "/v1/chat/completions"),
        ("/v1/chat/completions%3Bx", "/v1/chat/completions"),
        ("/v1/chat/completions/", "/v1/chat/completions"),
        ("/v1/chat/completions?x", "/v1/chat/completions"),
        ("/v1/chat/completions#x", "/v1/chat/completions"),
        ("/v1/chat/completions/?a=/../b", "/v1/chat/completions"),
        ("/V1/Chat/Completions", "/V1/Chat/Completions"),
        (
            "/model/arn%3Aaws%3Abedrock%3A%3A1%3Ax%2Fy/converse",
            "/model/arn:aws:bedrock::1:x/y/converse",
        ),
        ("", "/"),
        ("/", "/"),
        ("*", "*"),
    ],
)
def test_canonical_path(raw: str, canonical: str) -> None:
    assert canonical_path(raw) == canonical


@pytest.mark.parametrize(
    "raw",
    [
        "/v1/../v1/chat/completions",
        "/v1/%2e%2e/x",
        "/v1/..;x/y",
        "/v1/%2563hat/completions",
        "/v1/chat%00/completions",
        "/v1/chat%0d%0a",
        "/v1\\chat",
        "/v1/%5cchat",
        "/v1/%ff",
        "/v1/%zz",
        "/v1/%",
        "/v1/\ud800",
        "v1/chat",
        "http://api.openai.com/v1",
        "/" + "a" * 9000,
        "/" * 66,
        "/a" * 65,
        "/a%2Fb" * 33,
    ],
    ids=lambda raw: ascii(raw[:24]),
)
def test_paths_that_servers_read_differently_are_refused(raw: str) -> None:
    with pytest.raises(BadPath):
        canonical_path(raw)


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=80))
def test_any_path_is_canonical_once_or_refused(raw: str) -> None:
    try:
        path = canonical_path("/" + raw)
    except BadPath:
        return
    assert "//" not in path
    assert not {".", ".."} & set(path.split("/"))
    assert not path.endswith("/") or path == "/"


@pytest.mark.parametrize(
    "raw",
    [
        "/v1//chat/completions",
        "/v1/./chat/completions",
        "/v1/%63hat/completions",
        "/v1/chat/completions;x",
        "/v1/chat/completions/",
        "/v1/chat/completions?x",
        "/V1/CHAT/completions",
    ],
)
def test_no_spelling_of_a_route_is_missed(raw: str) -> None:
    assert told(raw, "api.openai.com").dialect == "openai.chat"


AZURE, VERTEX = "corp.openai.azure.com", "us-east5-aiplatform.googleapis.com"
BEDROCK, GEMINI = "bedrock-runtime.us-east-1.amazonaws.com", "generativelanguage.googleapis.com"
PROJECT = "/v1/projects/p/locations/l/publishers"


@pytest.mark.parametrize(
    ("host", "path", "provider", "dialect", "operation", "model", "stream", "billable"),
    [
        ("api.openai.com", "/v1/chat/completions", "openai", "openai.chat", "chat", "", None, True),
        ("api.openai.com", "/v1/completions", "openai", "openai.completions", "completion", "", None, True),
        ("api.openai.com", "/v1/responses", "openai", "openai.responses", "chat", "", None, True),
        ("api.openai.com", "/v1/responses/compact", "openai", "openai.responses", "chat", "", None, True),
        ("api.openai.com", "/v1/responses/input_tokens", "openai", "openai.responses", "count_tokens", "", False, False),
        ("api.openai.com", "/v1/responses/resp_1/cancel", "openai", "openai.responses", "retrieve", "", None, False),
        ("api.openai.com", "/v1/embeddings", "openai", "openai.embeddings", "embeddings", "", False, True),
        ("api.openai.com", "/v1/moderations", "openai", "generic", "moderation", "", None, False),
        ("api.openai.com", "/v1/images/generations", "openai", "generic", "images", "", None, True),
        ("api.openai.com", "/v1/audio/speech", "openai", "generic", "audio", "", None, True),
        ("api.openai.com", "/v1/batches", "openai", "generic", "batch", "", None, True),
        ("api.openai.com", "/v1/files", "openai", "generic", "files", "", None, False),
        ("api.openai.com", "/v1/realtime/client_secrets", "openai", "generic", "realtime", "", None, True),
        ("api.openai.com", "/v1/threads/t/messages", "openai", "generic", "other", "", None, True),
        ("api.openai.com", "/v1/new_thing", "openai", "generic", "other", "", None, True),
        ("chatgpt.com", "/backend-api/codex/responses", "openai", "openai.responses", "chat", "", None, True),
        (AZURE, "/openai/deployments/gpt-4o/chat/completions", "azure", "openai.chat", "chat", "gpt-4o", None, True),
        (AZURE, "/openai/deployments/e/embeddings", "azure", "openai.embeddings", "embeddings", "e", False, True),
        (AZURE, "/openai/v1/responses", "azure", "openai.responses", "chat", "", None, True),
        (AZURE, "/anthropic/v1/messages", "azure", "anthropic.messages", "chat", "", None, True),
        ("api.anthropic.com", "/v1/messages?beta=true", "anthropic", "anthropic.messages", "chat", "", None, True),
        ("api.anthropic.com", "/v1/messages/count_tokens", "anthropic", "anthropic.messages", "count_tokens", "", False, False),
        ("api.anthropic.com", "/v1/messages/batches", "anthropic", "generic", "batch", "", None, True),
        ("api.anthropic.com", "/v1/chat/completions", "anthropic", "openai.chat", "chat", "", None, True),
        ("api.anthropic.com", "/api/event_logging/v2/batch", "anthropic", "generic", "telemetry", "", None, False),
        ("api.anthropic.com", "/api/claude_code/metrics", "anthropic", "generic", "telemetry", "", None, False),
        ("api.anthropic.com", "/api/eval/sdk-1", "anthropic", "generic", "telemetry", "", None, False),
        (GEMINI, "/v1beta/models/gemini-2.5-pro:generateContent", "gemini", "gemini.generate", "chat", "gemini-2.5-pro", False, True),
        (GEMINI, "/v1/models/gemini-2.5-pro:streamGenerateContent?alt=sse", "gemini", "gemini.generate", "chat", "gemini-2.5-pro", True, True),
        (GEMINI, "/v1beta/models/e:embedContent", "gemini", "gemini.generate", "embeddings", "e", False, True),
        (GEMINI, "/v1beta/models/g:countTokens", "gemini", "gemini.generate", "count_tokens", "g", False, False),
        (GEMINI, "/v1beta/openai/chat/completions", "gemini", "openai.chat", "chat", "", None, True),
        (GEMINI, "/upload/v1beta/files", "gemini", "generic", "files", "", None, False),
        ("cloudcode-pa.googleapis.com", "/v1internal:streamGenerateContent", "gemini", "gemini.generate", "chat", "", True, True),
        ("cloudcode-pa.googleapis.com", "/v1internal:loadCodeAssist", "gemini", "generic", "telemetry", "", None, False),
        (VERTEX, f"{PROJECT}/google/models/gemini-2.5-pro:streamGenerateContent", "vertex", "gemini.generate", "chat", "gemini-2.5-pro", True, True),
        (VERTEX, f"{PROJECT}/anthropic/models/claude-sonnet-4-5@20250929:rawPredict", "vertex", "anthropic.messages", "chat", "claude-sonnet-4-5@20250929", None, True),
        (VERTEX, f"{PROJECT}/anthropic/models/claude-x:streamRawPredict", "vertex", "anthropic.messages", "chat", "claude-x", True, True),
        (VERTEX, f"{PROJECT}/anthropic/models/count-tokens:rawPredict", "vertex", "anthropic.messages", "count_tokens", "", None, False),
        (VERTEX, f"{PROJECT}/mistralai/models/m:streamRawPredict", "vertex", "openai.chat", "chat", "m", True, True),
        (VERTEX, "/v1/projects/p/locations/l/endpoints/openapi/chat/completions", "vertex", "openai.chat", "chat", "", None, True),
        (BEDROCK, "/model/anthropic.claude-3-haiku-20240307-v1%3A0/converse", "bedrock", "bedrock.converse", "chat", "anthropic.claude-3-haiku-20240307-v1:0", False, True),
        (BEDROCK, "/model/m/converse-stream", "bedrock", "bedrock.converse", "chat", "m", True, True),
        (BEDROCK, "/model/arn%3Aaws%3Abedrock%3Aus-east-1%3A1%3Ainference-profile%2Fus.x/invoke", "bedrock", "bedrock.invoke", "chat", "arn:aws:bedrock:us-east-1:1:inference-profile/us.x", False, True),
        (BEDROCK, "/model/m/invoke-with-response-stream", "bedrock", "bedrock.invoke", "chat", "m", True, True),
        (BEDROCK, "/model/amazon.titan-embed-text-v2%3A0/invoke", "bedrock", "bedrock.invoke", "embeddings", "amazon.titan-embed-text-v2:0", False, True),
        (BEDROCK, "/model/m/count-tokens", "bedrock", "generic", "count_tokens", "m", None, False),
        ("gpu.example:11434", "/api/chat", "ollama", "ollama.chat", "chat", "", None, True),
        ("gpu.example:11434", "/api/generate", "ollama", "ollama.generate", "completion", "", None, True),
        ("gpu.example:11434", "/api/embed", "ollama", "ollama.generate", "embeddings", "", False, True),
        ("gpu.example:11434", "/api/pull", "ollama", "generic", "models", "", None, False),
        ("gpu.example:11434", "/v1/chat/completions", "ollama", "openai.chat", "chat", "", None, True),
        ("api.cohere.com", "/v2/chat", "cohere", "cohere.chat", "chat", "", None, True),
        ("api.cohere.com", "/v2/embed", "cohere", "generic", "embeddings", "", False, True),
        ("api.cohere.ai", "/compatibility/v1/chat/completions", "cohere", "openai.chat", "chat", "", None, True),
        ("api.groq.com", "/openai/v1/chat/completions", "groq", "openai.chat", "chat", "", None, True),
        ("api.deepseek.com", "/chat/completions", "deepseek", "openai.chat", "chat", "", None, True),
        ("api.deepseek.com", "/anthropic/v1/messages", "deepseek", "anthropic.messages", "chat", "", None, True),
        ("api.x.ai", "/v1/responses", "xai", "openai.responses", "chat", "", None, True),
        ("openrouter.ai", "/api/v1/chat/completions", "openrouter", "openai.chat", "chat", "", None, True),
        ("api.mistral.ai", "/v1/agents/completions", "mistral", "openai.chat", "chat", "", None, True),
        ("api.mistral.ai", "/v1/fim/completions", "mistral", "openai.completions", "completion", "", None, True),
        ("api.fireworks.ai", "/inference/v1/chat/completions", "fireworks", "openai.chat", "chat", "", None, True),
        ("api.z.ai", "/api/paas/v4/chat/completions", "zai", "openai.chat", "chat", "", None, True),
        ("router.huggingface.co", "/groq/v1/chat/completions", "huggingface", "openai.chat", "chat", "", None, True),
        ("api.individual.githubcopilot.com", "/chat/completions", "copilot", "openai.chat", "chat", "", None, True),
        ("api.perplexity.ai", "/chat/completions", "perplexity", "openai.chat", "chat", "", None, True),
        ("llm.corp.example", "/v1/chat/completions", "vllm", "openai.chat", "chat", "", None, True),
        ("llm.corp.example", "/tokenize", "vllm", "generic", "count_tokens", "", None, False),
        ("relay.example:8443", "/x/v1/messages", "my-relay", "anthropic.messages", "chat", "", None, True),
    ],
    ids=lambda value: value if isinstance(value, str) and value.startswith("/") else None,
)  # fmt: skip
def test_routes(
    host: str,
    path: str,
    provider: str,
    dialect: str,
    operation: str,
    model: str,
    stream: bool | None,
    billable: bool,
) -> None:
    assert told(path, host) == Route(
        provider=provider,
        dialect=dialect,
        operation=operation,
        model=model,
        stream=stream,
        billable=billable,
        generic=dialect == "generic",
    )


@pytest.mark.parametrize(
    ("method", "path", "dialect", "operation", "billable"),
    [
        ("GET", "/v1/responses", "openai.responses", "chat", True),
        ("get", "/v1/responses", "openai.responses", "chat", True),
        ("GET", "/v1/responses/resp_1", "openai.responses", "retrieve", False),
        ("GET", "/v1/chat/completions/chatcmpl-1", "openai.chat", "retrieve", False),
        ("GET", "/v1/models", "generic", "models", False),
        ("GET", "/v1/realtime", "openai.realtime", "realtime", True),
        ("HEAD", "/v1/chat/completions", "generic", "other", False),
        ("OPTIONS", "*", "generic", "other", False),
        ("GET", "/v1/organization/usage", "generic", "other", False),
        ("PUT", "/v1/new_thing", "generic", "other", True),
    ],
)
def test_the_method_counts(
    method: str, path: str, dialect: str, operation: str, billable: bool
) -> None:
    found = told(path, "api.openai.com", method=method)
    assert (found.dialect, found.operation, found.billable) == (dialect, operation, billable)


def test_the_port_tells_who_answers() -> None:
    target = Target(method="POST", host="relay.example", path="/v1/x", port=8443)
    assert route(target, hosts=HOSTS).provider == "my-relay"


def test_a_hint_names_the_provider_and_comes_first() -> None:
    found = told("/v1/chat/completions", "api.openai.com", hint=" vLLM ")
    assert (found.provider, found.dialect) == ("vllm", "openai.chat")
    assert told("/v1/chat/completions", hint="azure_openai").provider == "azure"


def test_a_hint_does_not_change_how_a_known_host_is_read() -> None:
    found = told("/api/chat", "api.openai.com", hint="ollama")
    assert (found.dialect, found.generic) == ("generic", True)


def test_an_odd_hint_says_nothing() -> None:
    assert told("/v1/messages", "api.anthropic.com", hint="a b\r\nc").provider == "anthropic"


def test_a_hint_opens_the_routes_of_its_family_elsewhere() -> None:
    assert told("/v2/chat", "gpu.example", hint="cohere").dialect == "cohere.chat"
    assert told("/v2/chat", "gpu.example", hint="ollama").dialect == "generic"


@pytest.mark.parametrize(
    ("path", "provider", "dialect"),
    [
        ("/v1/messages", "anthropic", "anthropic.messages"),
        ("/v1/chat/completions", "openai", "openai.chat"),
        ("/api/generate", "ollama", "ollama.generate"),
        ("/v2/chat", "cohere", "cohere.chat"),
        ("/v1beta/models/g:generateContent", "gemini", "gemini.generate"),
        ("/model/m/converse", "bedrock", "bedrock.converse"),
        ("/generate_stream", "tgi", "generic"),
        ("/nothing/known", "unknown", "generic"),
    ],
)
def test_a_path_alone_suggests_a_provider(path: str, provider: str, dialect: str) -> None:
    found = told(path, "some.example")
    assert (found.provider, found.dialect) == (provider, dialect)


@pytest.mark.parametrize(
    ("header", "provider"),
    [
        ("anthropic-version", "anthropic"),
        ("x-goog-api-key", "gemini"),
        ("api-key", "azure"),
        ("x-other", "unknown"),
    ],
)
def test_headers_name_who_a_path_does_not(header: str, provider: str) -> None:
    assert told("/odd", "some.example", headers={header: ""}).provider == provider
    known = told("/v1/chat/completions", "some.example", headers={header: ""})
    assert known.provider == "openai"


def test_a_header_decides_whose_model_list_it_is() -> None:
    found = told("/v1/models", method="GET", headers={"anthropic-version": "2023-06-01"})
    assert found.provider == "anthropic"


@pytest.mark.parametrize(
    ("body", "headers", "dialect"),
    [
        pytest.param({"messages": [], "model": "m"}, {}, "openai.chat", id="messages"),
        pytest.param(
            {"messages": []}, {"anthropic-version": "1"}, "anthropic.messages", id="header"
        ),
        pytest.param(
            {"messages": [], "anthropic_version": "v"}, {}, "anthropic.messages", id="member"
        ),
        pytest.param({"contents": []}, {}, "gemini.generate", id="contents"),
        pytest.param({"messages": "x", "model": "m"}, {}, "generic", id="messages-no-list"),
        pytest.param({"text": "x"}, {}, "generic", id="anything"),
        pytest.param([], {}, "generic", id="array"),
        pytest.param(None, {}, "generic", id="no-body"),
    ],
)
def test_the_body_tells_what_path_and_host_do_not(
    body: Json, headers: dict[str, str], dialect: str
) -> None:
    found = told("/rpc", "relay.example:8443", body=body, headers=headers)
    assert (found.provider, found.dialect, found.generic) == (
        "my-relay",
        dialect,
        dialect == "generic",
    )


def test_an_unknown_route_of_a_known_provider_is_read_generically_whatever_its_body() -> None:
    found = told("/v1/new_thing", "api.openai.com", body={"messages": [], "model": "m"})
    assert (found.dialect, found.generic, found.billable) == ("generic", True, True)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60), st.text(max_size=40), st.text(max_size=20), st.text(max_size=8))
def test_nothing_makes_it_fail(path: str, host: str, hint: str, method: str) -> None:
    target = Target(method=method, host=host, path="/" + path)
    found = route(target, provider_hint=hint, body=None, hosts=HOSTS)
    assert found.provider
    assert found.dialect


def test_each_row_can_be_read() -> None:
    assert len(route_table()) > 60
    for row in route_table():
        assert row.dialect in DIALECTS
        assert not row.provider or default_hosts().named(row.provider) == row.provider


@pytest.mark.parametrize(
    ("path", "provider", "rest"),
    [
        ("/anthropic/v1/messages?beta=true", "anthropic", "/v1/messages?beta=true"),
        ("/openai/v1/responses", "openai", "/v1/responses"),
        ("/OpenAI/v1/responses", "openai", "/v1/responses"),
        ("/groq/openai/v1/chat/completions", "groq", "/openai/v1/chat/completions"),
        ("/azure/openai/deployments/d/chat/completions", "azure", "/openai/deployments/d/chat/completions"),
        ("/openai/deployments/d/chat/completions", "azure", "/openai/deployments/d/chat/completions"),
        ("/my-relay/x", "my-relay", "/x"),
        ("/vllm", "vllm", "/"),
        ("/vllm?a=b/c", "vllm", "/?a=b/c"),
        ("/v1/messages", "anthropic", "/v1/messages"),
        ("/v1/chat/completions?x=1", "openai", "/v1/chat/completions?x=1"),
        ("/v1/responses", "openai", "/v1/responses"),
        ("/api/chat", "ollama", "/api/chat"),
        ("/v1beta/models/g%3AgenerateContent", "gemini", "/v1beta/models/g%3AgenerateContent"),
        ("/bedrock/model/a%2Fb/converse", "bedrock", "/model/a%2Fb/converse"),
        ("/odd", None, "/odd"),
        ("/", None, "/"),
    ],
)  # fmt: skip
def test_reverse_paths_are_split(path: str, provider: str | None, rest: str) -> None:
    assert split_reverse(path, hosts=HOSTS) == (provider, rest)


def test_a_bad_reverse_path_is_refused() -> None:
    with pytest.raises(BadPath):
        split_reverse("/openai/../anthropic/v1/messages", hosts=HOSTS)
