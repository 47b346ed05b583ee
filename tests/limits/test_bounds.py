"""What calls may cost: never less than they do, in strict mode, and never nothing."""

import json
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.config import Config
from llmtrace.config.limits import TokenCap
from llmtrace.limits.bounds import LARGEST, Bound, Bounder, Hold, Outgoing
from llmtrace.limits.refusals import Refused
from llmtrace.providers.base import Route
from llmtrace.providers.ceilings import dearest
from llmtrace.providers.editing import put_member
from llmtrace.providers.pricing import PriceBook
from llmtrace.providers.registry import DIALECTS, GENERIC

AT = datetime(2026, 11, 21, tzinfo=UTC)
HELLO = [{"role": "user", "content": "hello"}]
CLAUDE = ("anthropic.messages", "anthropic")


@cache
def book() -> PriceBook:
    return PriceBook(custom_models={"plain": {"input_per_million": 1, "output_per_million": 10}})


@cache
def bounder(mode: str, default_price: bool = False) -> Bounder:
    caps: dict[str, Any] = {"mode": mode}
    if default_price:
        caps["default_price"] = {"input_per_million": 2, "output_per_million": 3}
    return Bounder(Config.model_validate({"cost_caps": caps}).cost_caps, book())


def call(
    body: Any,
    dialect: str = "openai.chat",
    provider: str = "openai",
    operation: str = "chat",
    model: str = "",
    billable: bool = True,
    **given: Any,
) -> Outgoing:
    route = Route(
        provider=provider, dialect=dialect, operation=operation, model=model, billable=billable
    )
    reads = DIALECTS[dialect] if dialect else GENERIC
    return Outgoing(
        route=route,
        view=reads.request(body, route),
        body=body,
        size=len(json.dumps(body).encode()),
        at=AT,
        **given,
    )


def bound(outgoing: Outgoing, mode: str = "strict", **given: Any) -> Bound:
    found = bounder(mode).bound(outgoing, **given)
    assert isinstance(found, Bound), found
    return found


def refusal(outgoing: Outgoing, mode: str = "strict", **given: Any) -> Refused:
    found = bounder(mode).bound(outgoing, **given)
    assert isinstance(found, Refused), found
    return found


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "plain", "messages": HELLO, **fields}


def test_strict_counts_bytes_and_all_that_may_be_written() -> None:
    body = chat(max_tokens=100)
    found = bound(call(body))
    assert found.input_tokens == len(json.dumps(body)) + 1024
    assert found.usd == found.input_tokens * 1_000 + 100 * 10_000 + 16
    assert (found.output_tokens, found.put) == (100, None)


def test_an_estimate_counts_what_is_likely() -> None:
    found = bound(call(chat(max_tokens=100, messages=[{"content": "x" * 4000}])), "estimate")
    assert found.input_tokens == 1100
    assert found.usd == 1100 * 1_000 + 100 * 10_000 + 16
    assert found.tokens == 1200


def test_all_answers_count() -> None:
    assert bound(call(chat(max_tokens=100, n=128))).output_tokens == 12_800
    huge = bound(call(chat(max_tokens=2**53 - 1, n=2**20)))
    assert huge.usd <= LARGEST
    assert huge.tokens <= LARGEST


def test_a_call_without_a_limit_is_given_one_that_its_provider_keeps_to() -> None:
    body: Any = {"model": "gpt-4o", "messages": HELLO}
    found = bound(call(body))
    assert found.put is not None
    assert found.put == (("max_completion_tokens",), 16_384)
    edited = json.loads(put_member(json.dumps(body).encode(), body, *found.put))
    again = bound(call(edited))
    assert (again.put, again.output_tokens) == (None, found.output_tokens)


def test_a_wrapped_request_is_given_it_inside() -> None:
    body = {"model": "gemini-2.5-flash", "request": {"contents": [{"parts": [{"text": "hi"}]}]}}
    found = bound(call(body, "gemini.generate", "gemini"))
    assert found.put == (("request", "generationConfig", "maxOutputTokens"), 65_535)


@pytest.mark.parametrize(
    "value", [-1, 1e308, "10", True, 2**63, float("nan"), [10]], ids=lambda value: repr(value)[:20]
)
@pytest.mark.parametrize("mode", ["strict", "estimate"])
@pytest.mark.parametrize("hold", ["hard", "soft"])
def test_no_number_of_tokens_is_free(mode: str, hold: Hold, value: Any) -> None:
    found = refusal(call(chat(max_tokens=value)), mode, hold=hold)
    assert (found.status, found.code) == (400, "bad_token_cap")


def test_without_any_limit_the_provider_answers_for_its_numbers() -> None:
    assert bound(call(chat(max_tokens="10")), hold="none").usd == 0
    cap = TokenCap(max_completion_tokens=5)
    assert refusal(call(chat(max_tokens="10")), cap=cap, hold="none").code == "bad_token_cap"


def test_a_model_without_a_price_is_refused_where_the_bound_must_hold() -> None:
    found = refusal(call(chat(model="nobody-knows", max_tokens=10)))
    assert (found.status, found.code) == (403, "model_not_priced")
    assert "no price is known of 'nobody-knows'" in found.message
    assert "names no model" in refusal(call({"messages": HELLO})).message


def test_a_model_without_a_price_is_not_free_in_an_estimate() -> None:
    unpriced = call(chat(model="nobody-knows", max_tokens=1_000_000))
    dear = bound(unpriced, "estimate")
    assert dear.usd >= dearest().output
    assert dear.price_version == dearest().version
    own = bounder("estimate", default_price=True).bound(unpriced)
    assert isinstance(own, Bound)
    assert own.usd >= 3 * 10**9


def test_a_soft_limit_needs_no_price_and_changes_nothing() -> None:
    found = bound(call(chat(model="nobody-knows")), hold="soft")
    assert found.usd > 0
    assert found.put is None


def test_a_rate_alone_needs_no_price() -> None:
    found = bound(call(chat(model="nobody-knows", max_tokens=100)), hold="none")
    assert (found.usd, found.output_tokens) == (0, 100)
    assert found.tokens >= 100


def test_what_is_free_is_free() -> None:
    tokens = call(
        {"messages": HELLO}, "anthropic.messages", "anthropic", "count_tokens", billable=False
    )
    assert bound(tokens) == Bound()
    assert bound(call({"generate": False, "input": "x"}, "openai.responses")) == Bound()


def test_a_token_cap_is_put_in_where_nothing_else_holds_the_call() -> None:
    cap = TokenCap(max_completion_tokens=50)
    assert bound(call(chat()), cap=cap, hold="none").put == (("max_completion_tokens",), 50)
    assert refusal(call(chat(max_tokens=51)), cap=cap).code == "token_cap_exceeded"


@pytest.mark.parametrize("text", [["hello", "world"], [[1, 2, 3]]])
def test_embeddings_cost_what_they_read(text: Any) -> None:
    body = {"model": "text-embedding-3-small", "input": text}
    found = bound(call(body, "openai.embeddings", operation="embeddings"))
    assert found.output_tokens == 0
    assert found.usd > 0


def test_pictures_have_a_price_where_they_have_tokens() -> None:
    body = {"model": "gpt-image-1", "prompt": "a cat", "n": 3}
    found = bound(call(body, "", operation="images", model="gpt-image-1"))
    assert found.output_tokens == 3 * 16_384
    assert found.usd > 3 * 16_384 * 40_000
    unpriced = call({"model": "dall-e-3"}, "", operation="images", model="dall-e-3")
    assert refusal(unpriced).code == "model_not_priced"


def test_sound_has_a_price_by_its_length() -> None:
    spoken = Outgoing(
        route=Route(provider="openai", dialect="", operation="audio", model="whisper-1"),
        view=GENERIC.request(None, Route(provider="openai", dialect="", operation="audio")),
        body=None,
        size=1_000_000,
        at=AT,
        model="whisper-1",
    )
    hour = 360_000_000  # nano-USD
    assert bound(spoken).usd >= hour * 2000 // 3600  # at 4 kbit/s


@pytest.mark.parametrize("operation", ["realtime", "batch", "other", "files"])
def test_what_has_no_bound_is_refused_or_held_to_its_model_s_price(operation: str) -> None:
    outgoing = call({"model": "gpt-4o"}, "", operation=operation, model="gpt-4o")
    found = refusal(outgoing)
    assert found.code == "model_not_priced"
    assert operation in found.message
    assert bound(outgoing, "estimate").usd > 0


def test_a_write_to_a_cache_costs_more() -> None:
    def rate(**mark: Any) -> float:
        content = [{"type": "text", "text": "x" * 9000, **mark}]
        messages = [{"role": "user", "content": content}]
        body = {"model": "claude-sonnet-4-5", "max_tokens": 1, "messages": messages}
        found = bound(call(body, "anthropic.messages", "anthropic"))
        return round(found.input_usd / found.input_tokens / 1000, 2)

    control = {"type": "ephemeral"}
    assert rate() == 3.0  # USD for a million
    assert rate(cache_control=control) == 3.75
    assert rate(cache_control={**control, "ttl": "1h"}) == 6.0


def test_any_model_of_a_list_may_answer() -> None:
    body = chat(model="openai/gpt-4o-mini", models=["openai/o1-pro"], max_tokens=1000)
    one = chat(model="openai/gpt-4o-mini", max_tokens=1000)
    assert (
        bound(call(body, provider="openrouter")).usd > bound(call(one, provider="openrouter")).usd
    )


def test_a_signed_call_is_not_changed() -> None:
    body = {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}
    model = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
    found = bound(call(body, "bedrock.converse", "bedrock", model=model, editable=False))
    assert (found.put, found.output_tokens) == (None, 64_000)


def test_sound_and_pictures_that_come_out_are_dearer() -> None:
    def written(**fields: Any) -> int:
        return bound(call(chat(model="gpt-4o-audio-preview", max_tokens=10, **fields))).output_rate

    assert written() == written(modalities=["text", "audio"]) > 10 * 10**9


@pytest.mark.parametrize("tier", ["priority", {"type": "priority"}])
def test_a_dearer_tier_is_reserved_for(tier: Any) -> None:
    usual = bound(call(chat(model="gpt-5.6-sol", max_tokens=10, service_tier="default")))
    dearer = bound(call(chat(model="gpt-5.6-sol", max_tokens=10, service_tier=tier)))
    assert dearer.output_rate == 2 * usual.output_rate


def test_a_project_may_say_which_tier_it_is() -> None:
    """https://platform.openai.com/docs/api-reference/chat/create: ``auto`` is the default."""
    unsaid = call(chat(model="gpt-5.6-sol", max_tokens=10))
    auto = call(chat(model="gpt-5.6-sol", max_tokens=10, service_tier="auto"))
    assert bound(unsaid).output_rate == bound(auto).output_rate
    assert bound(unsaid).output_rate == 2 * bound(unsaid, "estimate").output_rate


def test_a_name_longer_than_any_is_held_to_be_the_dearest() -> None:
    def rate(model: str, **fields: Any) -> int:
        return bound(call(chat(model=model, max_tokens=10, **fields)), "estimate").output_rate

    usual, dearer = rate("gpt-5.6-sol"), rate("gpt-5.6-sol", service_tier="priority")
    assert rate("gpt-5.6-sol", service_tier="x" * 1000) == dearer > usual
    long, fast, slow = (
        bound(call(chat(model="claude-opus-4-8", max_tokens=1, **speed), *CLAUDE)).output_rate
        for speed in ({"speed": "x" * 1000}, {"speed": "fast"}, {})
    )
    assert long == fast > slow


def test_what_is_kept_of_prices_is_small_whatever_clients_call_them() -> None:
    book().notes.clear()
    for mark in "ab":
        long = mark * 5_000
        fields = {"service_tier": long, "speed": long}
        for model in ("openai/gpt-4o", long, f"unlisted-{mark}"):
            for models in (["gpt-4o" + long] * 32, []):
                body = chat(**{**fields, "model": model, "models": models, "max_tokens": 1})
                bounder("strict").bound(call(body, provider="openrouter"))
    assert len(book().notes) == 1
    assert len(repr(book().notes)) < 1000


@pytest.mark.parametrize(
    "tool",
    [{"type": "web_search"}, {"type": "mcp", "server_label": "x"}],
    ids=lambda tool: tool["type"],
)
def test_tools_that_run_elsewhere_are_refused_where_that_is_wanted(tool: Any) -> None:
    caps = Config.model_validate({"cost_caps": {"provider_tools": "refuse"}}).cost_caps
    body = {"model": "gpt-5", "input": "hi", "max_output_tokens": 10, "tools": [tool]}
    found = Bounder(caps, book()).bound(call(body, "openai.responses"))
    assert isinstance(found, Refused)
    assert (found.code, "provider_tools" in found.message) == ("model_not_priced", True)
    never = {**body, "max_tool_calls": 0}
    assert isinstance(Bounder(caps, book()).bound(call(never, "openai.responses")), Bound)
    bound(call(body, "openai.responses"))


def test_what_thinks_without_a_limit_is_refused() -> None:
    body = chat(model="sonar-deep-research", max_tokens=10)
    assert refusal(call(body, provider="perplexity")).code == "model_not_priced"
    assert bound(call(body, provider="perplexity"), "estimate").usd > 0


def test_rejected_predictions_cost_as_if_they_were_written() -> None:
    predicted = {"prediction": {"type": "content", "content": "x" * 1000}}
    body = chat(max_tokens=10)
    more = bound(call({**body, **predicted})).usd - bound(call(body)).usd
    assert more >= 1000 * (10_000 + 1_000)


def test_a_prediction_of_any_depth_has_a_bound() -> None:
    content: list[Any] = []
    for _ in range(300):
        content = [content]
    body = chat(max_tokens=10, prediction={"type": "content", "content": content})
    found = bound(call(body))
    assert found.input_usd >= len(json.dumps(body)) * (10_000 + 1_000)


@pytest.mark.parametrize("body", [{"input": "x" * 1000, "voice": "alloy"}, None])
def test_sound_that_is_made_or_heard_has_room(body: Any) -> None:
    """A quarter of the speed is 5.6 tokens a letter; 25 minutes are 15,000 tokens."""
    route = Route(provider="openai", dialect="", operation="audio", model="gpt-4o-mini-tts")
    view = GENERIC.request(body, route)
    outgoing = Outgoing(route=route, view=view, body=body, size=1_000, at=AT, model=route.model)
    assert bound(outgoing).output_tokens >= (5_600 if body else 15_000)
    assert bound(outgoing, "estimate").output_tokens == 4_096


@settings(max_examples=100, deadline=None)
@given(
    room=st.integers(-(10**9), 10**12),
    choices=st.integers(1, 100),
    price=st.sampled_from(["plain", "gpt-4o", "o1-pro"]),
)
def test_as_many_tokens_as_fit_do_fit(room: int, choices: int, price: str) -> None:
    found = bound(call(chat(model=price, n=choices)))
    fits = found.fitting_output(room)
    assert fits is not None
    smaller = bound(call(chat(model=price, n=choices, max_tokens=max(fits, 1))))
    assert not fits or smaller.usd <= room
