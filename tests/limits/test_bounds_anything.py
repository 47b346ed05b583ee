"""Whatever a request says, it is bounded or refused, and no text is dearer than its bound."""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.config import Config
from llmtrace.config.limits import TokenCap
from llmtrace.domain.usage import Usage
from llmtrace.limits.bounds import LARGEST, Bound, Bounder, Outgoing
from llmtrace.limits.refusals import Refused
from llmtrace.providers.base import Route
from llmtrace.providers.editing import put_member
from llmtrace.providers.pricing import PriceBook
from llmtrace.providers.registry import DIALECTS

AT = datetime(2026, 11, 21, tzinfo=UTC)


@cache
def book() -> PriceBook:
    return PriceBook(custom_models={"plain": {"input_per_million": 1, "output_per_million": 10}})


@cache
def bounder(mode: str) -> Bounder:
    return Bounder(Config.model_validate({"cost_caps": {"mode": mode}}).cost_caps, book())


def call(body: Any, dialect: str, provider: str, *, model: str) -> Outgoing:
    route = Route(provider=provider, dialect=dialect, operation="chat")
    return Outgoing(
        route=route,
        view=DIALECTS[dialect].request(body, route),
        body=body,
        size=len(json.dumps(body).encode()),
        at=AT,
        model=model,
    )


FIELDS = st.sampled_from(
    [
        "max_tokens",
        "max_completion_tokens",
        "max_output_tokens",
        "maxOutputTokens",
        "maxTokens",
        "num_predict",
        "n",
        "generationConfig",
        "generation_config",
        "inferenceConfig",
        "options",
        "request",
        "contents",
        "messages",
        "tools",
        "system",
        "service_tier",
        "modalities",
        "previous_response_id",
        "max_uses",
        "type",
        "cache_control",
    ]
)
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 100) | st.floats(-2, 2) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=200, deadline=None)
@given(
    dialect=st.sampled_from(sorted(set(DIALECTS) - {"openai.realtime"})),
    fields=st.dictionaries(FIELDS, ANYTHING, max_size=6),
    mode=st.sampled_from(["strict", "estimate"]),
    capped=st.booleans(),
)
def test_any_body_is_bounded_or_refused_and_holds_what_is_put_in(
    dialect: str, fields: dict[str, Any], mode: str, capped: bool
) -> None:
    body: Any = {"model": "plain", **fields}
    cap = TokenCap(max_completion_tokens=20) if capped else None
    found = bounder(mode).bound(call(body, dialect, "vllm", model="plain"), cap)
    if isinstance(found, Refused):
        assert found.status in (400, 403)
        return
    assert 0 < found.usd <= LARGEST
    assert cap is None or found.output_tokens <= 20
    if found.put is None:
        return
    edited = json.loads(put_member(json.dumps(body).encode(), body, *found.put))
    again = bounder(mode).bound(call(edited, dialect, "vllm", model="plain"), cap)
    assert isinstance(again, Bound)
    assert (again.put, again.output_tokens) == (None, found.output_tokens)
    assert again.usd <= found.usd


SPOKEN = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=200)


@settings(max_examples=100, deadline=None)
@given(
    dialect=st.sampled_from(
        [
            ("openai.chat", "openai", "gpt-5.6-sol"),
            ("openai.responses", "openai", "gpt-4o"),
            ("anthropic.messages", "anthropic", "claude-opus-4-6"),
            ("gemini.generate", "gemini", "gemini-2.5-pro"),
            ("bedrock.converse", "bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
            ("cohere.chat", "cohere", "command-a"),
        ]
    ),
    texts=st.lists(SPOKEN, min_size=1, max_size=4),
    limit=st.none() | st.integers(1, 100_000),
    share=st.floats(0, 1),
    cached=st.floats(0, 1),
    marked=st.booleans(),
)
def test_no_call_costs_more_than_its_strict_bound(
    dialect: tuple[str, str, str],
    texts: list[str],
    limit: int | None,
    share: float,
    cached: float,
    marked: bool,
) -> None:
    name, provider, model = dialect
    body = _request(name, model, texts, limit, marked)
    found = bounder("strict").bound(call(body, name, provider, model=model))
    assert isinstance(found, Bound)
    tokens = sum(len(text.encode()) + 10 for text in texts)  # one a byte, and what is around
    written = int(found.output_tokens * share)
    usage = Usage(
        input_tokens=tokens,
        output_tokens=written,
        cache_read_tokens=0 if marked else int(tokens * cached),
        cache_write_5m_tokens=int(tokens * cached) if marked else 0,
        reasoning_tokens=written // 2,
    )
    cost = book().price(provider, model, usage, at=AT)
    assert cost is not None
    assert cost.nano_usd <= found.usd


def _request(dialect: str, model: str, texts: list[str], limit: int | None, marked: bool) -> Any:
    if dialect == "gemini.generate":
        config = {} if limit is None else {"generationConfig": {"maxOutputTokens": limit}}
        return {"contents": [{"role": "user", "parts": [{"text": t}]} for t in texts], **config}
    if dialect == "bedrock.converse":
        config = {} if limit is None else {"inferenceConfig": {"maxTokens": limit}}
        mark = [{"cachePoint": {"type": "default"}}] if marked else []
        content: list[Any] = [[{"text": text}, *mark] for text in texts]
        return {"messages": [{"role": "user", "content": blocks} for blocks in content], **config}
    if dialect == "openai.responses":
        field = {} if limit is None else {"max_output_tokens": limit}
        return {"model": model, "input": [{"role": "user", "content": t} for t in texts], **field}
    field = {} if limit is None else {"max_tokens": limit}
    control = {"cache_control": {"type": "ephemeral"}} if marked else {}
    blocks = [{"type": "text", "text": text, **control} for text in texts]
    return {
        "model": model,
        "messages": [{"role": "user", "content": [block]} for block in blocks],
        **field,
    }
