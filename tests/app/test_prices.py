from pathlib import Path

import pytest

from llmtrace.app.prices import price_book
from llmtrace.config import load


def test_prices_of_a_file_are_in_force(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("mine: {input_per_million: 1, output_per_million: 2}\n")
    assert price_book(load(environ={}, overrides={"cost_estimation.pricing_file": str(file)}))


def test_a_bad_price_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("mine: {input_per_million: -1}\n")
    with pytest.raises(ValueError, match=r"prices\.yaml"):
        price_book(load(environ={}, overrides={"cost_estimation.pricing_file": str(file)}))


def test_without_cost_estimation_there_are_no_prices() -> None:
    assert price_book(load(environ={}, overrides={"cost_estimation.enabled": False})) is None
