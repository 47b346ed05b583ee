from datetime import date
from typing import Any, get_args

import pytest
from pydantic import BaseModel

from llmtrace.config import ConfigError, load
from llmtrace.config.prices import CustomModel, ModelPrices, PricePeriod, PriceTier, ServicePrices
from llmtrace.providers.custom_prices import custom_prices
from llmtrace.providers.rates import Rate

FULL: dict[str, Any] = {
    "input_per_million": 1,
    "output_per_million": 4,
    "cache_read_per_million": 0.1,
    "cache_write_per_million": 1.25,
    "cache_write_1h_per_million": 2,
    "reasoning_per_million": 3,
    "input_audio_per_million": 5,
    "cache_audio_read_per_million": 0.5,
    "output_audio_per_million": 6,
    "input_image_per_million": 7,
    "cache_image_read_per_million": 0.7,
    "output_image_per_million": 8,
    "per_request": 0.001,
    "per_image": 0.04,
    "audio_per_hour": 0.36,
    "tools": {"web_search": 0.01},
    "tiers": [{"input_tokens_above": 200_000, "input_per_million": 2}],
    "service_tiers": {"flex": {"input_per_million": 0.5, "tools": {"web_search": 0}}},
    "valid_from": "2026-01-01",
    "valid_until": "2027-01-01",
    "source": "https://example.com/pricing",
    "periods": [
        {"input_per_million": 9, "output_per_million": 9, "valid_until": "2026-02-01"},
    ],
}


def test_every_key_of_the_configuration_is_one_of_a_pricing_file() -> None:
    config = load(environ={}, overrides={"cost_estimation.custom_models": {"m": FULL}})
    (model,) = config.cost_estimation.custom_models.values()
    assert FULL.keys() == CustomModel.model_fields.keys()
    ours = custom_prices({"m": model.model_dump()}, "here")
    assert ours.models == custom_prices({"m": FULL}, "here").models
    now = ours.find("m", date(2026, 11, 21), "FLEX".lower())
    assert now is not None
    assert (now.input, now.output) == (Rate(500_000_000), Rate(4_000_000_000))


@pytest.mark.parametrize(
    ("model", "says"),
    [
        ({"tiers": [{"input_tokens_above": 0}]}, "tiers[0].input_tokens_above"),
        ({"tiers": [{"input_tokens_abov": 5}]}, "input_tokens_abov is no configuration key."),
        ({"service_tiers": {"flex": {"periods": []}}}, "flex.periods is no configuration key."),
        ({"valid_from": "2026-02-01", "valid_until": "2026-02-01"}, "not before valid_until"),
        ({"valid_from": "soon"}, "valid_from"),
        ({"per_image": -1}, "per_image"),
        ({"tools": {"web_search": float("inf")}}, "tools.web_search"),
        ({"tools": {"web_serch": 1}}, "web_search"),
        (
            {"periods": [{"input_per_million": 1, "output_per_million": 1}]},
            "neither valid_from nor valid_until",
        ),
    ],
)
def test_a_wrong_price_is_named(model: dict[str, Any], says: str) -> None:
    prices = {"input_per_million": 1, "output_per_million": 1} | model
    with pytest.raises(ConfigError) as caught:
        load(environ={}, overrides={"cost_estimation.custom_models": {"m": prices}})
    assert says in str(caught.value)


@pytest.mark.parametrize(
    "section", [CustomModel, ModelPrices, PricePeriod, ServicePrices, PriceTier]
)
def test_prices_are_closed(section: type[BaseModel]) -> None:
    assert section.model_config.get("extra") == "forbid"
    assert get_args(CustomModel.model_fields["periods"].annotation) == (PricePeriod,)
