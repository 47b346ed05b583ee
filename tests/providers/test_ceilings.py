"""The highest prices that a call can have, against what calls cost."""

from datetime import UTC, datetime
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.usage import Usage
from llmtrace.providers.ceilings import (
    Ceiling,
    Reach,
    canonical,
    ceiling,
    context_window,
    dearest,
)
from llmtrace.providers.custom_prices import custom_prices
from llmtrace.providers.money import MILLION
from llmtrace.providers.pricing import PriceBook
from llmtrace.providers.rates import Rate, Rates

AT = datetime(2026, 11, 21, tzinfo=UTC)
USD = 10**9


@cache
def book() -> PriceBook:
    return PriceBook(
        custom_models={
            "tiered": {"input_per_million": 1, "output_per_million": 2},
            "free": {"input_per_million": 0, "output_per_million": 0},
        }
    )


def highest(provider: str, model: str, reach: Reach) -> Ceiling:
    found = ceiling(book(), provider, (model,), reach, at=AT)
    assert found is not None
    return found


def test_no_discount_of_a_cache_is_counted_on() -> None:
    found = highest("anthropic", "claude-sonnet-4-5", Reach(input_tokens=1000))
    assert (found.input, found.output) == (3 * USD, 15 * USD)


def test_a_cache_costs_more_to_write_than_to_read() -> None:
    for long, price in ((False, 3.75), (True, 6)):
        reach = Reach(input_tokens=1000, cache_writes=True, cache_writes_1h=long)
        assert highest("anthropic", "claude-sonnet-4-5", reach).input == price * USD


@pytest.mark.parametrize(("tokens", "price"), [(272_000, 4), (272_001, 8)])
def test_tiers_count_that_the_call_can_reach(tokens: int, price: int) -> None:
    assert highest("openai", "gpt-5.6-sol", Reach(input_tokens=tokens)).input == price * USD


@pytest.mark.parametrize(
    ("tier", "price"),
    [("", 4), ("default", 4), ("flex", 4), ("auto", 8), ("priority", 8), ("Priority", 8)],
)
def test_the_dearest_service_tier_counts_that_may_be_billed(tier: str, price: int) -> None:
    reach = Reach(input_tokens=1, service_tier=tier)
    assert highest("openai", "gpt-5.6-sol", reach).input == price * USD


def test_speed_is_paid_for() -> None:
    slow, fast = (
        highest("anthropic", "claude-opus-4-8", Reach(input_tokens=1, speed=speed))
        for speed in ("", "fast")
    )
    assert fast.output > slow.output


class OneModel(PriceBook):
    """Knows one model, whose classes of tokens cost what is said."""

    def __init__(self, rates: Rates) -> None:
        super().__init__()
        self._only = rates

    def rates(self, *_: object, **__: object) -> Rates:
        return self._only


@pytest.mark.parametrize(("said", "thought"), [(10, 3), (3, 10)])
def test_the_dearer_of_words_and_thoughts_counts(said: int, thought: int) -> None:
    rates = Rates(version="v", input=Rate(1), output=Rate(said), reasoning=Rate(thought))
    found = ceiling(OneModel(rates), "openai", ("m",), Reach(input_tokens=1), at=AT)
    assert found is not None
    assert found.output == 10


def test_sound_and_pictures_are_dearer_than_text() -> None:
    text, sound = (
        highest("openai", "gpt-4o-audio-preview", Reach(input_tokens=1, input_media=media))
        for media in (False, True)
    )
    assert sound.input > text.input


def test_tools_have_their_price() -> None:
    reach = Reach(input_tokens=1, tools=frozenset({"web_search"}))
    assert highest("openai", "gpt-5.6-sol", reach).tool == 10 * USD * 1000


def test_sound_by_its_length_has_a_price() -> None:
    reach = Reach(input_tokens=1, sound=True)
    assert highest("openai", "whisper-1", reach).audio > 0
    assert ceiling(book(), "openai", ("whisper-1",), Reach(input_tokens=1), at=AT) is None


def test_what_only_reads_needs_no_price_to_write() -> None:
    reach = Reach(input_tokens=1, answers=False)
    assert highest("openai", "text-embedding-3-small", reach).output == 0


def test_any_of_several_models_may_answer() -> None:
    reach = Reach(input_tokens=1)
    one = ceiling(book(), "openai", ("gpt-4o-mini", "gpt-4o"), reach, at=AT)
    assert one == highest("openai", "gpt-4o", reach)
    assert ceiling(book(), "openai", ("gpt-4o", "nobody-knows"), reach, at=AT) is None
    assert ceiling(book(), "openai", (), reach, at=AT) is None


def test_one_s_own_price_of_nothing_is_a_price() -> None:
    assert highest("ollama", "free", Reach(input_tokens=1)).output == 0


def test_the_dearest_is_dearer_than_all_others() -> None:
    top = dearest()
    for provider, model in (("openai", "o1-pro"), ("anthropic", "claude-opus-4-1")):
        found = highest(provider, model, Reach(input_tokens=10**6, cache_writes=True))
        assert top.input >= found.input > 0
        assert top.output >= found.output > 0


@pytest.mark.parametrize(
    ("provider", "model"),
    [
        ("openai", "gpt-4o-mini"),
        ("openai", "gpt-4o-mini-2024-07-18"),
        ("openai", "GPT-4o-Mini"),
    ],
)
def test_all_names_of_a_model_are_one(provider: str, model: str) -> None:
    assert canonical(provider, model) == "gpt-4o-mini"


def test_what_is_not_listed_keeps_its_name() -> None:
    assert canonical("openai", "Nobody-Knows") == "nobody-knows"
    assert canonical("nobody", "gpt-4o") == "gpt-4o"
    assert context_window("nobody", "gpt-4o") is None


def test_context_windows_are_known() -> None:
    assert context_window("anthropic", "claude-sonnet-4-5-20250929") == 200_000
    assert context_window("bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0")


COUNT = st.integers(0, 400_000)


@settings(max_examples=150, deadline=None)
@given(
    model=st.sampled_from(
        [
            ("openai", "gpt-5.6-sol"),
            ("openai", "gpt-4o"),
            ("anthropic", "claude-sonnet-4-5"),
            ("anthropic", "claude-opus-4-6"),
            ("gemini", "gemini-2.5-pro"),
            ("gemini", "gemini-3.1-pro-preview"),
            ("xai", "grok-4-0709"),
            ("ollama", "tiered"),
        ]
    ),
    plain=COUNT,
    read=COUNT,
    short=COUNT,
    long=COUNT,
    text=COUNT,
    reasoning=COUNT,
    room=COUNT,
)
def test_no_call_costs_more_than_its_ceiling(
    model: tuple[str, str],
    plain: int,
    read: int,
    short: int,
    long: int,
    text: int,
    reasoning: int,
    room: int,
) -> None:
    usage = Usage(
        input_tokens=plain + read + short + long,
        output_tokens=text + reasoning,
        cache_read_tokens=read,
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
        reasoning_tokens=reasoning,
    )
    cost = book().price(*model, usage, at=AT)
    reach = Reach(
        input_tokens=usage.input_tokens + room,
        cache_writes=bool(short),
        cache_writes_1h=bool(long),
    )
    top = highest(*model, reach)
    assert cost is not None
    most = usage.input_tokens * top.input + usage.output_tokens * top.output
    assert cost.nano_usd <= most // MILLION + 16


@pytest.mark.parametrize(
    ("provider", "model"),
    [("openai", "gpt-4o-mini"), ("anthropic", "claude-sonnet-4-5"), ("gemini", "gemini-2.5-pro")],
)
def test_what_is_looked_up_again_is_the_same_for_each_reach(provider: str, model: str) -> None:
    reaches = [
        Reach(input_tokens=tokens, answers=answers, cache_writes=writes)
        for tokens in (1, 1_000_000)
        for answers in (True, False)
        for writes in (True, False)
    ]
    fresh = [highest(provider, model, reach) for reach in reaches]
    book().notes.clear()
    assert [highest(provider, model, reach) for reach in reversed(reaches)] == fresh[::-1]


def test_rates_that_grow_with_the_size_are_looked_at_for_each_size() -> None:
    for rates in (
        Rates(version="v", input=Rate(1, ((10, 5),)), output=Rate(1)),
        Rates(version="v", input=Rate(1), output=Rate(1), request=Rate(1, ((10, 5),))),
    ):
        assert not rates.is_flat
        small, large = (
            ceiling(OneModel(rates), "openai", ("m",), Reach(input_tokens=size), at=AT)
            for size in (10, 11)
        )
        assert small is not None
        assert large is not None
        assert (small.input, small.request) != (large.input, large.request)


def test_prices_that_change_are_looked_up_anew() -> None:
    entry = {"input_per_million": 1, "output_per_million": 10}
    book_of_one = PriceBook(listed=custom_prices({"mine": entry}, "a file"))

    def written() -> int:
        found = ceiling(book_of_one, "vllm", ["mine"], Reach(input_tokens=1), at=AT)
        assert found is not None
        return found.output

    assert written() == 10 * 10**9
    dearer = {"mine": {**entry, "output_per_million": 20}}
    book_of_one.use(custom_prices(dearer, "a file"))
    assert written() == 20 * 10**9
