import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path

import genai_prices
import pytest
from genai_prices.data_snapshot import get_snapshot
from genai_prices.types import TimeOfDateConstraint
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.usage import Cost, Usage
from llmtrace.providers.custom_prices import read_pricing_file
from llmtrace.providers.pricing import MAKERS, PROVIDERS, PriceBook, reported_cost
from llmtrace.providers.shipped_prices import corrections

AT = datetime(2026, 1, 15, 12, tzinfo=UTC)


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def usd(*terms: tuple[int, str]) -> int:
    """Add tokens times dollars per million, in nano-USD."""
    return sum(int(Decimal(price) * 1000 * tokens) for tokens, price in terms)


def nano(cost: Cost | None) -> int:
    assert cost is not None
    return cost.nano_usd


SOME = Usage(input_tokens=1_000_000, output_tokens=0)


@pytest.mark.parametrize(
    ("provider", "model", "same_as"),
    [
        ("anthropic", "claude-sonnet-4-5", "claude-sonnet-4-5-20250929"),
        ("openai", "GPT-4o-mini", "gpt-4o-mini-2024-07-18"),
        ("azure", "gpt-4o", "gpt-4o-2024-08-06"),
        ("gemini", "gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("vertex", "claude-sonnet-4-5@20250929", "claude-sonnet-4-5"),
        ("vertex", "claude-sonnet-4@20250514", "publishers/anthropic/models/claude-sonnet-4"),
        (
            "bedrock",
            "anthropic.claude-3-5-sonnet-20241022-v2:0",
            "anthropic.claude-3-5-sonnet-20241022-v2%3A0",
        ),
        (
            "bedrock",
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/"
            "us.anthropic.claude-sonnet-4-20250514-v1:0",
        ),
        (
            "bedrock",
            "amazon.nova-pro-v1:0",
            "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0",
        ),
    ],
    ids=lambda value: value.replace("/", "_"),
)
def test_all_names_of_a_model_have_its_price(
    book: PriceBook, provider: str, model: str, same_as: str
) -> None:
    price = nano(book.price(provider, model, SOME, at=AT))
    assert price == nano(book.price(provider, same_as, SOME, at=AT)) > 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        pytest.param("openai", "no-such-model", id="unknown-model"),
        pytest.param("vllm", "llama-3.3-70b-versatile", id="self-hosted"),
        pytest.param("no-such-provider", "gpt-4o", id="unknown-provider"),
        pytest.param("bedrock", "arn:aws:bedrock:us-east-1:1:custom-model/x", id="opaque-arn"),
        pytest.param("openai", "", id="no-model"),
        pytest.param("openai", "x" * 100_000, id="long-name"),
    ],
)
def test_what_is_not_known_has_no_cost(book: PriceBook, provider: str, model: str) -> None:
    assert book.price(provider, model, SOME, at=AT) is None


def test_tokens_without_any_rate_have_no_cost(book: PriceBook) -> None:
    usage = Usage(input_tokens=1, output_tokens=1)
    assert book.price("openai", "text-embedding-3-small", usage, at=AT) is None


def test_nothing_used_costs_nothing(book: PriceBook) -> None:
    assert nano(book.price("openai", "gpt-4o", Usage(), at=AT)) == 0


def test_a_class_is_rounded_up_once(book: PriceBook) -> None:
    usage = Usage(input_tokens=1)
    own = PriceBook(custom_models={"m": {"input_per_million": 1e-7, "output_per_million": 0}})
    assert nano(own.price("x", "m", usage, at=AT)) == 1
    assert nano(book.price("openai", "gpt-4o-mini", usage, at=AT)) == 150


def test_prices_change_by_time_of_day(book: PriceBook) -> None:
    def at(hour: int, minute: int, offset: int = 0) -> int:
        zone = timezone(timedelta(hours=offset))
        when = datetime(2025, 3, 1, hour, minute, tzinfo=zone)
        return nano(book.price("deepseek", "deepseek-chat", SOME, at=when))

    assert (at(16, 29), at(16, 30), at(0, 29), at(0, 30)) == (
        270_000_000,
        135_000_000,
        135_000_000,
        270_000_000,
    )
    assert at(18, 29, offset=2) == at(16, 29)


def test_times_of_day_are_whole_minutes() -> None:
    """What is looked up for a minute is the price of all of it."""
    times = {
        time
        for provider in get_snapshot().providers
        for model in provider.models
        for price in (model.prices if isinstance(model.prices, list) else [])
        if isinstance(price.constraint, TimeOfDateConstraint)
        for time in (price.constraint.start_time, price.constraint.end_time)
    }
    assert times
    assert not any(time.second or time.microsecond for time in times)


def test_prices_change_by_date(book: PriceBook) -> None:
    before = book.price("openai", "o3", SOME, at=datetime(2025, 6, 1, tzinfo=UTC))
    after = book.price("openai", "o3", SOME, at=datetime(2025, 7, 1, tzinfo=UTC))
    assert (nano(before), nano(after)) == (10_000_000_000, 2_000_000_000)


@pytest.mark.parametrize(
    ("provider", "model", "tier", "speed", "expected"),
    [
        ("openai", "gpt-4.1", "", "", "2"),
        ("openai", "gpt-4.1", "default", "", "2"),
        ("openai", "gpt-4.1", "Priority", "", "3.5"),
        ("openai", "gpt-4.1", "no-such-tier", "", "2"),
        ("openai", "gpt-4.1", "batch", "", "1"),
        ("anthropic", "claude-opus-4-8", "standard", "", "5"),
        ("anthropic", "claude-opus-4-8", "standard", "fast", "10"),
        ("anthropic", "claude-opus-4-8", "batch", "", "2.5"),
        ("gemini", "gemini-3.8-flash-tts", "ON_DEMAND_FLEX", "", "0.25"),
    ],
)
def test_tier_and_speed(
    book: PriceBook, provider: str, model: str, tier: str, speed: str, expected: str
) -> None:
    cost = book.price(
        provider,
        model,
        Usage(input_tokens=1_000),
        at=datetime(2026, 11, 1, tzinfo=UTC),
        service_tier=tier,
        speed=speed,
    )
    assert nano(cost) == usd((1_000, expected))


LISTED = [
    (ours, model.id)
    for provider in get_snapshot().providers
    for ours in [next((k for k, v in PROVIDERS.items() if v == provider.id), provider.id)]
    for model in provider.models
    if provider.find_model(model.id)  # some ids are no name that a call could have
    and f"{ours}/{model.id}" not in corrections().models
    and ours not in MAKERS
]
COUNTS = st.integers(0, 300_000)


@given(st.sampled_from(LISTED), COUNTS, COUNTS, COUNTS, COUNTS, COUNTS)
@settings(max_examples=150, deadline=None)
def test_genai_prices_agrees(
    listed: tuple[str, str], plain: int, cached: int, short: int, long: int, written: int
) -> None:
    provider, model = listed
    usage = Usage(
        input_tokens=plain + cached + short + long,
        output_tokens=written,
        cache_read_tokens=cached,
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
    )
    cost = BOOK.price(provider, model, usage, at=AT)
    theirs = genai_prices.calc_price(
        genai_prices.Usage(
            input_tokens=usage.input_tokens,
            output_tokens=written,
            cache_read_tokens=cached,
            cache_write_tokens=short + long,
            cache_write_1h_tokens=long,
        ),
        model,
        provider_id=PROVIDERS.get(provider, provider),
        genai_request_timestamp=AT,
    )
    if cost is not None:
        assert 0 <= cost.nano_usd - theirs.total_price * 10**9 < 10


BOOK = PriceBook()


def test_ones_own_prices() -> None:
    book = PriceBook(
        custom_models={
            "My-Model": {"input_per_million": 0.1, "output_per_million": 2},
            "vllm/tuned": {
                "input_per_million": 1,
                "output_per_million": 2,
                "cache_read_per_million": 0,
                "cache_write_per_million": 1.25,
            },
            "gpt-4o": {
                "input_per_million": 7,
                "output_per_million": 0,
                "cache_read_per_million": None,
            },
        }
    )
    usage = Usage(
        input_tokens=100,
        output_tokens=10,
        cache_read_tokens=40,
        cache_write_5m_tokens=10,
        cache_write_1h_tokens=10,
        reasoning_tokens=5,
        web_searches=3,
    )
    cost = book.price("anyone", "my-model", usage, at=AT)
    assert cost is not None
    assert cost.nano_usd == usd((100, "0.1"), (10, "2"))
    assert re.fullmatch(
        r"custom_models/[0-9a-f]{8}@2026-01-15\+unpriced:web_search", cost.price_version
    )
    tuned = usd((40, "1"), (20, "1.25"), (10, "2"))
    assert nano(book.price("vllm", "tuned", usage, at=AT)) == tuned
    assert book.price("ollama", "tuned", usage, at=AT) is None
    assert nano(book.price("openai", "gpt-4o", SOME, at=AT)) == 7_000_000_000


def test_a_file_is_read_and_the_configuration_comes_first(tmp_path: Path) -> None:
    path = tmp_path / "prices.yaml"
    path.write_text(
        "a: {input_per_million: 1, output_per_million: 1}\n"
        "b: {input_per_million: 1, output_per_million: 1}\n"
    )
    own = {"b": {"input_per_million": 2, "output_per_million": 2}}
    book = PriceBook(listed=read_pricing_file(path), custom_models=own)
    assert nano(book.price("x", "a", SOME, at=AT)) == 1_000_000_000
    assert nano(book.price("x", "b", SOME, at=AT)) == 2_000_000_000


@pytest.mark.parametrize(
    ("provider", "raw", "expected"),
    [
        ("openrouter", {"cost": 0.00123}, 1_230_000),
        ("openrouter", {"cost": 0}, 0),
        ("openrouter", {"cost": 1e-10}, 1),
        ("perplexity", {"cost": {"total_cost": 0.006, "request_cost": 0.005}}, 6_000_000),
        ("openrouter", {"cost": -1}, None),
        ("openrouter", {"cost": "1"}, None),
        ("openrouter", {"cost": float("nan")}, None),
        ("openrouter", {"cost": 1e30}, None),
        ("openrouter", {}, None),
        ("openrouter", None, None),
        ("vllm", {"cost": 1}, None),
    ],
    ids=[
        "openrouter",
        "zero-is-zero",
        "rounded-up",
        "perplexity",
        "negative",
        "string",
        "nan",
        "huge",
        "absent",
        "no-usage",
        "not-to-be-believed",
    ],
)
def test_the_providers_own_cost(
    provider: str, raw: Mapping[str, object] | None, expected: int | None
) -> None:
    cost = reported_cost(provider, raw)
    assert (cost.nano_usd if cost else None) == expected


def test_names_without_end_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrace.providers.pricing._MAX_CACHED", 3)
    book = PriceBook()
    for number in range(20):
        book.price("openai", f"gpt-4o-x{number}", SOME, at=AT)
        book.price("deepseek", "deepseek-r1", SOME, at=AT + timedelta(minutes=number))
    assert len(book._edition._models) <= 3
    assert len(book._edition.known) <= 3
    assert 1 <= len(book._edition._minutes) <= 3


def test_the_first_model_that_has_a_price_counts(book: PriceBook) -> None:
    cost = book.price_answer("openai", ["unheard-of", "", "gpt-4o"], SOME, {}, at=AT)
    assert nano(cost) == 2_500_000_000
    assert book.price_answer("openai", ["", "unheard-of"], SOME, None, at=AT) is None


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=14))])
def test_the_day_of_a_price_is_that_of_utc(book: PriceBook, zone: timezone) -> None:
    cost = book.price("openai", "gpt-4o", SOME, at=AT.astimezone(zone))
    assert cost is not None
    assert cost.price_version.endswith("@2026-01-15")


@pytest.mark.parametrize(
    ("model", "maker"),
    [
        ("gpt-5-codex", "openai"),
        ("gpt-4.1", "openai"),
        ("claude-sonnet-4.5", "anthropic"),
        ("gemini-2.5-pro", "gemini"),
        ("grok-code-fast-1", "xai"),
    ],
)
def test_where_no_price_is_taken_by_the_token_that_of_the_maker_counts(
    model: str, maker: str
) -> None:
    usage, at = Usage(input_tokens=900, output_tokens=9), datetime(2026, 1, 15, tzinfo=UTC)
    told = BOOK.price("copilot", model, usage, at=at)
    assert told is not None
    assert told == BOOK.price(maker, model, usage, at=at)
    assert BOOK.price("copilot", "unheard-of", usage, at=at) is None
