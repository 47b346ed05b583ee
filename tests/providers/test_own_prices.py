"""One's own prices among those that are shipped: whose counts, for which names, and when."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtrace.domain.usage import Cost, Usage
from llmtrace.providers.custom_prices import read_pricing_file
from llmtrace.providers.pricing import PriceBook

AT = datetime(2026, 1, 15, 12, tzinfo=UTC)
SOME = Usage(input_tokens=1_000_000, output_tokens=0)


def nano(cost: Cost | None) -> int:
    assert cost is not None
    return cost.nano_usd


@pytest.mark.parametrize(
    ("listed", "provider", "model"),
    [
        ("gpt-4o", "openai", "gpt-4o-2024-08-06"),
        ("openai/gpt-4o", "openai", "GPT-4o"),
        ("claude-sonnet-4-5", "anthropic", "claude-sonnet-4-5-20250929"),
        ("claude-sonnet-4-5", "vertex", "claude-sonnet-4-5@20250929"),
        ("anthropic.claude-sonnet-4-5", "bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("gemini-2.5-pro", "gemini", "models/gemini-2.5-pro"),
        ("gpt-4o-2024-08-06", "openai", "gpt-4o-2024-08-06"),
    ],
)
def test_ones_own_price_holds_for_all_names_of_a_model(
    listed: str, provider: str, model: str
) -> None:
    own = PriceBook(custom_models={listed: {"input_per_million": 7, "output_per_million": 0}})
    assert nano(own.price(provider, model, SOME, at=AT)) == 7_000_000_000


def test_the_price_of_a_date_is_not_that_of_another() -> None:
    prices = {"input_per_million": 7, "output_per_million": 0}
    own = PriceBook(custom_models={"gpt-4o-2024-05-13": prices, "azure/gpt-4o": prices})
    assert nano(own.price("openai", "gpt-4o-2024-08-06", SOME, at=AT)) == 2_500_000_000
    assert nano(own.price("openai", "gpt-4o-mini", SOME, at=AT)) == 150_000_000


def test_ones_own_price_out_of_its_time_gives_way() -> None:
    own = PriceBook(
        custom_models={
            "gpt-4o": {
                "input_per_million": 7,
                "output_per_million": 0,
                "valid_from": "2026-01-16",
                "service_tiers": {"flex": {"input_per_million": 3}},
            }
        }
    )
    assert nano(own.price("openai", "gpt-4o", SOME, at=AT)) == 2_500_000_000
    after = AT + timedelta(days=1)
    assert nano(own.price("openai", "gpt-4o", SOME, at=after)) == 7_000_000_000
    assert nano(own.price("openai", "gpt-4o", SOME, at=after, service_tier="FLEX")) == 3 * 10**9


def test_tools_of_ones_own_model_cost_what_the_provider_takes() -> None:
    own = PriceBook(
        custom_models={
            "gpt-4o": {"input_per_million": 0, "output_per_million": 0},
            "gpt-4.1": {
                "input_per_million": 0,
                "output_per_million": 0,
                "tools": {"web_search": 1},
            },
        }
    )
    used = Usage(input_tokens=1, web_searches=2, code_executions=1)
    cost = own.price("openai", "gpt-4o", used, at=AT)
    assert cost is not None
    assert cost.nano_usd == 20_000_000
    assert cost.price_version.endswith("+unpriced:code_execution")
    assert nano(own.price("openai", "gpt-4.1", used, at=AT)) == 2_000_000_000


def test_another_list_takes_the_place_of_the_file_before(tmp_path: Path) -> None:
    path, book = tmp_path / "prices.yaml", PriceBook()
    assert book.price("x", "a", SOME, at=AT) is None
    path.write_text("a: {input_per_million: 1, output_per_million: 1}\n")
    book.use(read_pricing_file(path))
    assert nano(book.price("x", "a", SOME, at=AT)) == 1_000_000_000
    assert nano(book.price("openai", "gpt-4o", SOME, at=AT)) == 2_500_000_000


@pytest.mark.parametrize("listed", ["my-deployment", "azure/My-Deployment"])
def test_the_price_of_a_deployment_comes_before_that_of_the_model_in_it(listed: str) -> None:
    own = PriceBook(custom_models={listed: {"input_per_million": 7, "output_per_million": 0}})
    names = ["gpt-4o-2024-08-06", "My-Deployment"]
    assert nano(own.price_answer("azure", names, SOME, None, at=AT)) == 7_000_000_000
    assert nano(own.price_answer("azure", ["gpt-4o", "other"], SOME, None, at=AT)) == 2_500_000_000
