"""From the usage object that a provider sends to the sum that its price page says."""

import math
from collections.abc import Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmtrace.providers.pricing import UNPRICED, PriceBook
from llmtrace.providers.usage import read_usage

PUBLISHED = yaml.safe_load(Path(__file__).with_name("published_prices.yaml").read_text())


@pytest.fixture(scope="module")
def book() -> PriceBook:
    return PriceBook()


def published(example: Mapping[str, Any]) -> int:
    """Add up what the price page says, in nano-USD, each term rounded up."""
    terms = [(count, Decimal(str(usd)) * 1_000) for count, usd in example.get("terms", ())]
    terms += [(count, Decimal(str(usd)) * 10**9) for count, usd in example.get("uses", ())]
    return sum(math.ceil(count * nano_each) for count, nano_each in terms)


def moment(said: object) -> datetime:
    text = str(said or "2026-11-21")
    return datetime.fromisoformat(text if "T" in text else f"{text}T12:00").replace(tzinfo=UTC)


@pytest.mark.parametrize("example", PUBLISHED, ids=lambda example: example["id"])
def test_published_prices(book: PriceBook, example: Mapping[str, Any]) -> None:
    provider, model, raw = example["provider"], example["model"], example["usage"]
    usage = read_usage(provider, example["dialect"], raw, model)
    assert usage is not None
    tier, at = example.get("tier", ""), moment(example.get("at"))
    cost = book.price_answer(provider, [model], usage, raw, at=at, service_tier=tier)
    assert cost is not None
    assert cost.nano_usd == published(example)
    assert type(cost.nano_usd) is int
    assert UNPRICED not in cost.price_version


def test_every_example_has_a_source_and_a_day() -> None:
    assert len(PUBLISHED) >= 20
    assert all(example["source"].startswith("https://") for example in PUBLISHED)
    assert all(date(2025, 1, 1) < example["as_of"] <= date(2026, 11, 21) for example in PUBLISHED)
    assert len({example["id"] for example in PUBLISHED}) == len(PUBLISHED)
