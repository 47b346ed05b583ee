from datetime import UTC, date, datetime

import pytest

from llmtrace.domain.usage import Usage
from llmtrace.providers.pricing import PriceBook
from llmtrace.providers.rates import TOOLS, Rate
from llmtrace.providers.shipped_prices import corrections, providers, rates_of, tool_prices

AT = datetime(2026, 1, 15, 12, tzinfo=UTC)


def test_tools_are_priced_by_a_thousand_uses() -> None:
    assert tool_prices("xai")["file_search"] == Rate(2_500 * 10**9)  # $2.50 for 1000
    assert tool_prices("anthropic")["web_fetch"] == Rate(0)
    assert tool_prices("nobody") == {}


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini", "vertex", "xai"])
def test_the_tools_of_the_list_are_tools_that_are_counted(provider: str) -> None:
    assert tool_prices(provider)
    assert tool_prices(provider).keys() <= TOOLS.keys()


@pytest.mark.parametrize("name", corrections().models)
def test_a_correction_is_of_a_model_that_the_package_has_otherwise(name: str) -> None:
    provider, _, model = name.partition("/")
    day = corrections().models[name][0].valid_from or AT.date()
    ours = corrections().find(name, day, "")
    listed = providers()[provider].find_model(model, all_providers=list(providers().values()))
    assert ours is not None
    assert listed is not None
    at = datetime.combine(day, AT.timetz())
    theirs = rates_of(listed.get_prices(at), "theirs")
    assert ours.by_class != theirs.by_class


def test_a_correction_is_in_force_in_its_time() -> None:
    book = PriceBook()
    used = Usage(input_tokens=1_000_000, cache_read_tokens=500_000, output_tokens=1_000_000)
    costs = {}
    for day in (date(2025, 3, 1), date(2026, 1, 15), date(2026, 5, 1)):
        cost = book.price("deepseek", "deepseek-chat", used, at=datetime.combine(day, AT.timetz()))
        assert cost is not None
        costs[day.year, day.month] = (cost.nano_usd, cost.price_version.partition("/")[0])
    assert costs == {
        (2025, 3): (1_270_000_000, "genai-prices"),
        (2026, 1): (574_000_000, "llmtrace"),
        (2026, 5): (351_400_000, "llmtrace"),
    }


def test_sound_is_priced_by_its_length() -> None:
    whisper = providers()["openai"].find_model("whisper-1")
    assert whisper is not None
    rates = rates_of(whisper.get_prices(AT), "x")
    assert rates.audio == Rate(100_000_000)  # $0.36 an hour, for a million milliseconds
