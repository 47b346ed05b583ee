from dataclasses import fields, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.domain.usage import Usage
from llmtrace.providers.batch_parts import added
from llmtrace.providers.money import MILLION
from llmtrace.providers.rates import TOOLS, Charge, Rate, Rates, charge

TIERED = Rate(2, ((200, 5), (400, 3)))


@pytest.mark.parametrize(
    ("tokens", "at", "most"),
    [(0, 2, 2), (200, 2, 2), (201, 5, 5), (400, 5, 5), (401, 3, 5)],
    ids=["base", "at-the-start", "over-the-start", "at-the-second", "over-the-second"],
)
def test_a_tier_begins_over_its_start(tokens: int, at: int, most: int) -> None:
    assert (TIERED.at(tokens), TIERED.most(tokens)) == (at, most)
    rates = Rates(version="x", input=TIERED, output=Rate(7))
    assert rates.numbers(tokens)[0] == at


def test_without_tiers_the_size_does_not_matter() -> None:
    assert Rate(2).at(10**9) == Rate(2).most(10**9) == 2


COUNTS = st.integers(0, 10**7)
RATES = st.integers(0, 10**12)
"""Up to $1000 for a million."""


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """A usage whose classes are within their totals, as ``read_usage`` gives them."""
    plain, read, short, long, heard, heard_read, seen, seen_read = (draw(COUNTS) for _ in range(8))
    written, spoken, drawn, thought = (draw(COUNTS) for _ in range(4))
    return Usage(
        input_tokens=plain + read + short + long + heard + heard_read + seen + seen_read,
        output_tokens=written + spoken + drawn + thought,
        cache_read_tokens=read + heard_read + seen_read,
        cache_write_5m_tokens=short,
        cache_write_1h_tokens=long,
        input_audio_tokens=heard + heard_read,
        cache_audio_read_tokens=heard_read,
        input_image_tokens=seen + seen_read,
        cache_image_read_tokens=seen_read,
        output_audio_tokens=spoken,
        output_image_tokens=drawn,
        reasoning_tokens=thought,
        web_searches=draw(st.integers(0, 100)),
        audio_ms=draw(COUNTS),
    )


def rising(base: int, step: int) -> Rate:
    return Rate(base, ((200_000, base + step),))


PRICED = [
    field.name
    for field in fields(Rates)
    if field.name not in {"version", "request", "tools", "by_class", "steps"}
]
FLAT = st.fixed_dictionaries({name: st.builds(Rate, RATES) for name in PRICED}).map(
    lambda rates: Rates(version="x", **rates, tools={"web_search": Rate(10**13)})
)
RISING = st.fixed_dictionaries({name: st.builds(rising, RATES, RATES) for name in PRICED}).map(
    lambda rates: Rates(version="x", **rates, tools={"web_search": Rate(10**13)})
)


def cost(rates: Rates, usage: Usage) -> int:
    charged = charge(rates, usage)
    assert charged is not None
    assert type(charged.nano_usd) is int
    return charged.nano_usd


@given(FLAT, usages(), usages())
@settings(max_examples=150)
def test_what_is_used_together_costs_no_more_than_apart(
    rates: Rates, one: Usage, other: Usage
) -> None:
    together, apart = cost(rates, added(one, other)), cost(rates, one) + cost(rates, other)
    assert 0 <= apart - together <= len(PRICED) + len(TOOLS)  # a nano-USD for each that is rounded


@given(RISING, usages(), usages())
@settings(max_examples=150)
def test_more_never_costs_less(rates: Rates, one: Usage, more: Usage) -> None:
    assert cost(rates, added(one, more)) >= cost(rates, one)


@given(FLAT, usages())
@settings(max_examples=100)
def test_each_class_is_paid_once_and_rounded_up_once(rates: Rates, usage: Usage) -> None:
    heard = usage.input_audio_tokens - usage.cache_audio_read_tokens
    seen = usage.input_image_tokens - usage.cache_image_read_tokens
    read = usage.cache_read_tokens - usage.cache_audio_read_tokens - usage.cache_image_read_tokens
    plain = usage.input_tokens - heard - seen - usage.cache_read_tokens
    made = usage.output_audio_tokens + usage.output_image_tokens + usage.reasoning_tokens
    classes = [
        (plain - usage.cache_write_5m_tokens - usage.cache_write_1h_tokens, rates.input),
        (read, rates.cache_read),
        (usage.cache_write_5m_tokens, rates.cache_write),
        (usage.cache_write_1h_tokens, rates.cache_write_1h),
        (heard, rates.input_audio),
        (usage.cache_audio_read_tokens, rates.cache_audio_read),
        (seen, rates.input_image),
        (usage.cache_image_read_tokens, rates.cache_image_read),
        (usage.output_tokens - made, rates.output),
        (usage.output_audio_tokens, rates.output_audio),
        (usage.output_image_tokens, rates.output_image),
        (usage.reasoning_tokens, rates.reasoning),
        (usage.audio_ms, rates.audio),
        (usage.web_searches, Rate(10**13)),
    ]
    expected = sum(-(-count * rate.base // MILLION) for count, rate in classes if rate)
    assert cost(rates, usage) == expected


BARE = Rates(version="x", input=Rate(1_000_000), output=Rate(2_000_000))


@pytest.mark.parametrize(
    ("usage", "expected"),
    [
        pytest.param(Usage(), Charge(0), id="nothing"),
        pytest.param(Usage(input_tokens=3), Charge(3), id="tokens"),
        pytest.param(Usage(cache_read_tokens=1, input_tokens=1), None, id="no-rate"),
        pytest.param(
            Usage(input_tokens=3, code_executions=2, map_searches=1),
            Charge(3, ("code_execution", "map_search")),
            id="tools-without-a-price-are-named",
        ),
        pytest.param(
            Usage(input_tokens=3, audio_ms=5), Charge(3, ("audio",)), id="sound-without-a-price"
        ),
        pytest.param(Usage(audio_ms=5), None, id="nothing-that-has-a-price"),
        pytest.param(Usage(generated_images=2), None, id="pictures-without-a-price"),
    ],
)
def test_what_has_no_price_is_not_guessed(usage: Usage, expected: Charge | None) -> None:
    assert charge(BARE, usage) == expected


def test_a_request_a_picture_and_sound_have_prices_of_their_own() -> None:
    rates = replace(
        BARE,
        request=Rate(5 * MILLION),
        audio=Rate(2 * MILLION),
        tools={"image": Rate(40_000_000 * MILLION), "web_search": Rate(0)},
    )
    usage = Usage(generated_images=2, audio_ms=10, web_searches=3)
    assert charge(rates, usage) == Charge(5 + 80_000_000 + 20)
    assert charge(rates, Usage()) == Charge(5)


def test_many_calls_are_priced_as_their_longest() -> None:
    rates = Rates(version="x", input=Rate(MILLION, ((200, 2 * MILLION),)), output=Rate(0))
    usage = Usage(input_tokens=400)
    assert charge(rates, usage) == Charge(800)
    assert charge(rates, usage, largest=200) == Charge(400)
