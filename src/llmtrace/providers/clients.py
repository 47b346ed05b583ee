"""Who sends a call: the program, its version, its session; and which headers carry secrets.

What a client says of itself is hostile input: it is bounded and reduced to plain characters, and
it attributes a call but authorises nothing.
"""

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

MAX_IDENTITY: Final = 128
"""Characters of a name, a version or a session that are kept."""
_MAX_HEADER: Final = 8192
_MAX_USERINFO: Final = 1024
_MAX_SEARCHED: Final = 1024
_ODD: Final = re.compile(r"[^A-Za-z0-9._:/-]+")

CREDENTIAL_HEADERS: Final = frozenset(
    {
        "api-key",
        "apikey",
        "authentication",
        "authorization",
        "cf-aig-authorization",
        "cf-access-client-secret",
        "cookie",
        "helicone-auth",
        "ocp-apim-subscription-key",
        "proxy-authorization",
        "sec-websocket-protocol",  # Realtime in browsers: openai-insecure-api-key.sk-…
        "set-cookie",
        "x-access-token",
        "x-amz-security-token",
        "x-anthropic-api-key",
        "x-api-key",
        "x-auth-token",
        "x-csrf-token",
        "x-forwarded-access-token",
        "x-goog-api-key",
        "x-goog-iam-authorization-token",
        "x-llmtrace-token",
        "x-portkey-api-key",
        "x-serverless-authorization",
    }
)
"""Headers, in lower case, whose values are kept nowhere."""

CREDENTIAL_QUERY: Final = frozenset(
    {
        "access_token",
        "api-key",
        "api_key",
        "apikey",
        "auth",
        "client_secret",
        "code",
        "id_token",
        "key",
        "password",
        "refresh_token",
        "secret",
        "sig",
        "signature",
        "subscription-key",
        "token",
        "x-amz-credential",
        "x-amz-security-token",
        "x-amz-signature",
        "x-goog-credential",
        "x-goog-signature",
    }
)
"""Query parameters, in lower case, whose values are kept nowhere."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientIdentity:
    """What a client says of itself; empty where it says nothing.

    ``session`` is one run of a program, ``conversation`` one thread within it.
    """

    program: str = ""
    version: str = ""
    session: str = ""
    conversation: str = ""


def plain(text: str) -> str:
    """Reduce a text to at most ``MAX_IDENTITY`` of ``A-Z a-z 0-9 . _ : / -``."""
    return _ODD.sub("_", text[: 4 * MAX_IDENTITY]).strip("_")[:MAX_IDENTITY]


def identify(headers: Mapping[str, str]) -> ClientIdentity:
    """Tell a client by its headers (lower-case names)."""
    said = tuple((name, headers[name]) for name in TELLING if name in headers)
    if sum(len(value) for _, value in said) > _REMEMBERED:
        return _identified(dict(said))
    return _remembered(said)


@lru_cache(maxsize=256)  # a client says the same with each of its calls
def _remembered(said: tuple[tuple[str, str], ...]) -> ClientIdentity:
    return _identified(dict(said))


def _identified(headers: Mapping[str, str]) -> ClientIdentity:
    program, version = _program(headers)
    turn = _turn_metadata(headers.get("x-codex-turn-metadata", ""))
    return ClientIdentity(
        program=plain(program),
        version=plain(version),
        session=_first(headers, SESSION_HEADERS) or turn.session,
        conversation=_first(headers, CONVERSATION_HEADERS) or turn.conversation,
    )


SESSION_HEADERS: Final = (
    "x-claude-code-session-id",
    "session-id",  # Codex
    "session_id",  # Codex before 0.9x
    "x-session-id",  # opencode
    "x-session-affinity",
    "vscode-sessionid",  # Copilot in VS Code
    "copilot-session-id",
    "x-litellm-session-id",
    "helicone-session-id",
    "x-client-session-id",
)
CONVERSATION_HEADERS: Final = (
    "thread-id",  # Codex
    "conversation_id",  # Codex before 0.9x
    "conversation-id",
    "x-conversation-id",
    "x-litellm-trace-id",
)


TELLING: Final = (
    "user-agent",
    "originator",
    "x-initiator",
    "x-interaction-type",
    "x-codex-turn-metadata",
    "x-stainless-lang",
    "x-stainless-package-version",
    "anthropic-version",
    "x-goog-api-client",
    *SESSION_HEADERS,
    *CONVERSATION_HEADERS,
)
"""All headers that tell a client."""
_REMEMBERED: Final = 2048
"""Characters of such headers that are remembered with what they tell."""


def _first(headers: Mapping[str, str], names: tuple[str, ...]) -> str:
    said = (headers[name] for name in names if name in headers)
    return next((value for raw in said if (value := plain(raw))), "")


def _turn_metadata(header: str) -> ClientIdentity:
    """Read Codex's JSON header, which repeats what its other headers say."""
    if not header.startswith("{") or len(header) > _MAX_HEADER:
        return ClientIdentity()
    try:
        said = json.loads(header)
    except (ValueError, RecursionError):
        return ClientIdentity()

    def of(*keys: str) -> str:
        values = (said.get(key) for key in keys) if isinstance(said, dict) else ()
        return next((plain(v) for v in values if isinstance(v, str) and v), "")

    return ClientIdentity(
        session=of("session_id", "session"), conversation=of("thread_id", "thread")
    )


def _pattern(product: str) -> re.Pattern[str]:
    return re.compile(
        rf"(?:^|[\s(]){product}(?![\w-])(?:[/ ]v?([0-9][^\s;,()/]{{0,63}}))?", re.IGNORECASE
    )


USER_AGENTS: Final = tuple(
    (_pattern(product), program)
    for product, program in (
        ("claude-cli", "claude-code"),
        ("claude-code", "claude-code"),
        ("codex[_-](?:cli|exec|tui|vscode|sdk)[a-z_]*", "codex"),
        ("codex", "codex"),
        ("GeminiCLI(?:-[a-z-]+)?", "gemini-cli"),
        ("QwenCode", "qwen-code"),
        ("opencode", "opencode"),
        ("GitHubCopilotChat", "copilot-chat"),
        ("GithubCopilot", "copilot"),
        ("copilot(?:-cli)?", "copilot-cli"),
        ("aider(?:-chat)?", "aider"),
        ("cline", "cline"),
        ("RooCode", "roo-code"),
        ("Cursor", "cursor"),
        ("Continue", "continue"),
        ("goose", "goose"),
        ("crush", "crush"),
        ("litellm", "litellm"),
        ("langchain[a-z-]*", "langchain"),
        ("google-genai-sdk", "google-genai"),
        ("genai-js", "google-genai"),
        ("Boto3", "boto3"),
        ("aws-cli", "aws-cli"),
        ("aws-sdk-js", "aws-sdk-js"),
        ("Botocore", "botocore"),
        ("(?:Async)?(?:Azure)?OpenAI/Python", "openai-python"),
        ("(?:Azure)?OpenAI/JS", "openai-js"),
        ("OpenAI/(?:Go|Java|Ruby|\\.NET)", "openai-sdk"),
        ("(?:Async)?Anthropic[a-z]*/Python", "anthropic-python"),
        ("Anthropic[a-z]*/JS", "anthropic-js"),
        ("Groq/Python", "groq-python"),
        ("mistral-client-python", "mistral-python"),
        ("mistralai", "mistral-python"),
        ("cohere", "cohere"),
        ("ollama-python", "ollama-python"),
        ("ollama-js", "ollama-js"),
        ("ollama", "ollama"),
        ("ai-sdk", "ai-sdk"),
        ("curl", "curl"),
        ("Wget", "wget"),
        ("python-httpx2?", "httpx"),
        ("python-requests", "requests"),
        ("aiohttp", "aiohttp"),
        ("Python-urllib", "urllib"),
        ("axios", "axios"),
        ("undici", "undici"),
        ("node-fetch", "node-fetch"),
        ("Bun", "bun"),
        ("Deno", "deno"),
        ("node", "node"),
        ("Go-http-client", "go"),
        ("okhttp", "okhttp"),
        ("Java-http-client", "java"),
    )
)
"""Products of a User-Agent, most telling first: a program before the library it uses."""


def _copilot_byok(headers: Mapping[str, str]) -> tuple[str, str] | None:
    """Copilot CLI with the user's own key sends the OpenAI SDK's User-Agent."""
    named = "x-initiator" in headers and "x-interaction-type" in headers
    return ("copilot-cli", "") if named else None


def _by_session(headers: Mapping[str, str]) -> tuple[str, str] | None:
    known = {"x-claude-code-session-id": "claude-code", "x-codex-turn-metadata": "codex"}
    return next(((name, "") for header, name in known.items() if header in headers), None)


def _by_originator(headers: Mapping[str, str]) -> tuple[str, str] | None:
    return _match(headers.get("originator", ""))


def _by_stainless(headers: Mapping[str, str]) -> tuple[str, str] | None:
    language = headers.get("x-stainless-lang", "")
    if not language:
        return None
    vendor = "anthropic" if "anthropic-version" in headers else "openai"
    return f"{vendor}-{language.lower()}", headers.get("x-stainless-package-version", "")


def _by_goog_client(headers: Mapping[str, str]) -> tuple[str, str] | None:
    return _match(headers.get("x-goog-api-client", ""))


def _by_first_product(headers: Mapping[str, str]) -> tuple[str, str] | None:
    product, _, _ = headers.get("user-agent", "").strip().partition(" ")
    name, _, version = product.partition("/")
    return (name, version) if name else None


def _by_user_agent(headers: Mapping[str, str]) -> tuple[str, str] | None:
    return _match(headers.get("user-agent", ""))


PROGRAM_HINTS: Final[tuple[Callable[[Mapping[str, str]], tuple[str, str] | None], ...]] = (
    _copilot_byok,
    _by_user_agent,
    _by_originator,
    _by_session,
    _by_stainless,
    _by_goog_client,
    _by_first_product,
)


def _match(text: str) -> tuple[str, str] | None:
    return _searched(text[:_MAX_SEARCHED])


@lru_cache(maxsize=1024)  # a few programs send nearly all calls
def _searched(text: str) -> tuple[str, str] | None:
    for pattern, program in USER_AGENTS:
        if found := pattern.search(text):
            return program, found[1] or ""
    return None


def _program(headers: Mapping[str, str]) -> tuple[str, str]:
    return next((found for hint in PROGRAM_HINTS if (found := hint(headers))), ("", ""))


def proxy_userinfo(header: str) -> tuple[str, str]:
    """Read user and password of a ``Basic`` Proxy-Authorization; both empty where it is none.

    The user is reduced as ``plain`` does, since it is a name; the password is a secret and
    comes as it is.
    """
    user, password = basic_userinfo(header)
    return plain(user), password


def basic_userinfo(header: str) -> tuple[str, str]:
    """Read user and password of ``Basic`` credentials; both empty where they are none.

    Source: RFC 7617.
    """
    scheme, _, encoded = header.strip().partition(" ")
    if scheme.lower() != "basic" or len(encoded) > _MAX_USERINFO:
        return "", ""
    try:
        decoded = base64.b64decode(encoded.strip(), validate=True).decode("utf-8")
    except (binascii.Error, ValueError):
        return "", ""
    user, colon, password = decoded.partition(":")
    return (user, password) if colon and password.isprintable() else ("", "")
