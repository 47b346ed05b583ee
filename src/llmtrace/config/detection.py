"""Sections about what is looked for in calls, and what is done about it."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr

from llmtrace.config.section import Section

type Level = Literal["info", "low", "medium", "high", "critical"]
type PartRole = Literal[
    "system", "user", "assistant", "tool_call", "tool_result", "tool_description"
]
type Globs = list[Annotated[str, Field(min_length=1, max_length=200)]]


class PolicyRule(Section):
    """One row of the policy: what it is about, and what becomes of it."""

    name: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = ""
    """What traces and messages call it. Default: its place, ``policy.rules[0]``."""

    kinds: Annotated[Globs, Field(min_length=1)]
    """Kinds of findings (``docs/detection.md``), ``*`` for any part: ``secret.*``."""

    severity: Level = "info"
    """The least severe finding that it is about."""

    confidence: Annotated[float, Field(ge=0, le=1)] = 0.0
    """The least sure one, 0 to 1."""

    roles: list[PartRole] = []
    """Whose words; empty means anyone's."""

    origins: list[Literal["trusted", "untrusted"]] = []
    """Where from; empty means anywhere."""

    directions: list[Literal["request", "answer"]] = []
    """Which way; empty means both."""

    providers: Globs = []
    """Providers as traces name them (``openai``, ``bedrock``, …), those that ``intercept.hosts``
    names among them, or ``unknown``, with ``*``; empty means all."""

    tenants: Globs = []
    """Tenants, with ``*``; empty means all."""

    agents: Globs = []
    """Agents, with ``*``; empty means all."""

    verdict: Literal["allow", "flag", "redact", "quarantine", "block"]
    """``flag`` records; ``redact`` replaces the value by a placeholder; ``quarantine`` replaces
    the whole text by a notice, and the call goes on; ``block`` refuses the call."""


class PolicyConfig(Section):
    """What becomes of findings (``policy``). The first row that fits decides."""

    preset: Literal["observe", "balanced", "strict"] = "balanced"
    """Rows that stand after your own: ``observe`` flags everything, ``balanced`` is made to be
    left on for a team of coding agents, ``strict`` stops whatever looks wrong."""

    rules: Annotated[list[PolicyRule], Field(max_length=500)] = []
    """Your own rows, before those of ``pii`` and the preset's."""

    block_status: Annotated[int, Field(ge=400, le=499)] = 400
    """Status of a blocked call. With 400 clients show the message after one attempt; with 403
    some ask for a new login, or try again."""

    block_style: Literal["error", "graceful"] = "error"
    """How a stream ends in which something is blocked: with the provider's error event, on which
    its SDKs raise, or (``graceful``) as an answer that the provider would not finish."""


class SecurityAnalysisConfig(Section):
    """What is looked for (``security_analysis``)."""

    enabled: bool = True
    """Whether calls are looked into at all. Off, they are recorded and priced only."""

    packs: list[Path] = []
    """Files with rules of your own, in the form of the shipped packs."""

    disabled_rules: Globs = []
    """Rules that are not to be used, by id with ``*``: ``pii.phone*``."""

    canaries: Annotated[list[SecretStr], Field(max_length=64)] = []
    """Texts that you planted in system prompts: found in an answer, plain, reversed or encoded,
    they are ``canary_leak``. At least 8 characters each."""

    allowed_tools: Globs | None = None
    """Tools that agents may call, with ``*``; others are ``tool_not_allowed``. Default: all."""

    denied_tools: Globs = []
    """Tools that agents may not call, with ``*``."""

    workspace: list[Path] = []
    """Folders that agents work in. With any, writes elsewhere are ``outside_workspace``."""

    ml_model: str | None = "shipped"
    """The model that reads beside the rules: ``shipped``, ``owner/name`` of a hub (see ``ml``), a
    folder (``./name`` or absolute) with ``model.json``, ``model.onnx`` and ``tokenizer.json`` or
    with what a hub's repository has, or ``null`` for none. It reads what users say and what tools
    bring."""

    operating_point: Literal["high_recall", "balanced", "high_precision"] = "balanced"
    """From when on the model's word counts: where 5 %, 1 % or 0.1 % of harmless development texts
    would be told as attacks."""

    timeout_ms: Annotated[int, Field(ge=10, le=60_000)] = 5000
    """Time for one request or one answer; past it the top-level ``on_error`` decides."""

    cache_entries: Annotated[int, Field(ge=0, le=10_000_000)] = 50_000
    """Texts whose findings each worker remembers: a history that is sent again costs little."""

    cache_ttl_hours: Annotated[float, Field(gt=0, le=24 * 365)] = 24
    """How long what was found in a text is shared in ``storage.cache_url``."""

    cache_timeout_ms: Annotated[int, Field(ge=1, le=1000)] = 25
    """Longest time that a request waits for it. Past it, and when it is away, workers go on by
    themselves and ask again some seconds later."""


class PiiConfig(Section):
    """What becomes of personal data (``pii``)."""

    action: Literal["alert_only", "alert_and_redact", "redact_silent"] | None = None
    """``alert_only`` records it; ``alert_and_redact`` replaces it and records it;
    ``redact_silent`` replaces it, and what is recorded counts as ``info``. ``null`` leaves it to
    the policy's preset. Rows of ``policy.rules`` come first."""

    kinds: Annotated[Globs, Field(min_length=1)] = ["pii.*"]
    """Kinds that ``action`` is for. What is only ``info``, such as IP addresses and the test
    values of manuals, is left as it is."""

    ignore: Globs = []
    """Kinds that are of no interest: they are recorded as allowed, whatever the preset says."""

    reversible: bool = True
    """Whether values that were replaced come back in answers and tool calls. Without, they are
    ``[PII:EMAIL]`` for good. Holds for secrets too."""

    ttl_hours: Annotated[int, Field(ge=1, le=24 * 365)] = 24 * 7
    """How long a value can come back after it was last seen."""


class StreamingAnalysisConfig(Section):
    """How answers are held back while they are judged (``streaming_analysis``)."""

    max_hold_chars: Annotated[int, Field(ge=512, le=1024 * 1024)] = 66_000
    """Most code points of a text that are held back. Mostly it is a word; a block that has begun,
    such as a private key, is held to its end."""

    tool_call_bytes: Annotated[int, Field(ge=1024, le=64 * 1024 * 1024)] = 1024 * 1024
    """Longest arguments of a tool call that are held; longer ones end the answer."""

    held_bytes: Annotated[int, Field(ge=64 * 1024, le=256 * 1024 * 1024)] = 8 * 1024 * 1024
    """Most of an answer that is held back; more ends it."""
