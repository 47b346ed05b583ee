from datetime import date
from pathlib import Path

import pytest

from llmtrace.providers.custom_prices import custom_prices, read_pricing_file
from llmtrace.providers.rates import Rate, Rates

GOOD = {"input_per_million": 0.15, "output_per_million": 1}
DAY = date(2026, 11, 21)


def rates_of(entries: object, *, day: date = DAY, tier: str = "") -> Rates:
    found = custom_prices(entries, "here").find("m", day, tier)
    assert found is not None
    return found


def test_dollars_become_nano_dollars_exactly() -> None:
    rates = rates_of({"m": GOOD | {"cache_read_per_million": 1e-10}})
    assert (rates.input, rates.output, rates.cache_read) == (
        Rate(150_000_000),
        Rate(1_000_000_000),
        Rate(1),
    )


@pytest.mark.parametrize(
    ("entries", "says"),
    [
        pytest.param(["m"], ["here: ", "a list"], id="no-mapping"),
        pytest.param({"m": 3}, ["here['m']: ", "a int"], id="entry-no-mapping"),
        pytest.param({"m": None}, ["here['m']: ", "nothing"], id="entry-empty"),
        pytest.param(
            {"m": {"input_per_million": 1}}, ["here['m'].output_per_million: missing"], id="missing"
        ),
        pytest.param(
            {"m": GOOD | {"imput_per_million": 1}},
            ["here['m']: ", "'imput_per_million'", "did you mean 'input_per_million'?"],
            id="misspelt",
        ),
        pytest.param(
            {"m": GOOD | {"zzz": 1}}, ["'zzz'", "known are input_per_million"], id="unknown"
        ),
        pytest.param(
            {"m": GOOD | {"output_per_million": -1}},
            ["here['m'].output_per_million: ", "0 to 1000000", "found -1"],
            id="negative",
        ),
        pytest.param({"m": GOOD | {"input_per_million": 1e7}}, ["found 10000000.0"], id="huge"),
        pytest.param({"m": GOOD | {"input_per_million": "1"}}, ["found a str"], id="string"),
        pytest.param({"m": GOOD | {"input_per_million": True}}, ["found True"], id="bool"),
        pytest.param({"m": GOOD | {"input_per_million": float("nan")}}, ["found nan"], id="nan"),
    ],
)
def test_an_error_names_the_entry(entries: object, says: list[str]) -> None:
    with pytest.raises(ValueError, match="here") as caught:
        custom_prices(entries, "here")
    for part in says:
        assert part in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("m:\n  input_per_million: 2\n  output_per_million: 3\n", id="yaml"),
        pytest.param('{"m": {"input_per_million": 2, "output_per_million": 3.0}}', id="json"),
    ],
)
def test_a_file_is_yaml_or_json(tmp_path: Path, text: str) -> None:
    path = tmp_path / "prices"
    path.write_text(text)
    found = read_pricing_file(path).find("m", DAY, "")
    assert found is not None
    assert (found.input, found.output) == (Rate(2_000_000_000), Rate(3_000_000_000))


def test_an_empty_file_has_no_prices(tmp_path: Path) -> None:
    path = tmp_path / "prices"
    path.write_text("# none yet\n")
    assert read_pricing_file(path).models == {}


@pytest.mark.parametrize("content", [b"a: [", b"\xff\xfe"], ids=["yaml", "encoding"])
def test_an_unreadable_file_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "prices"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="neither YAML nor JSON") as caught:
        read_pricing_file(path)
    assert str(path) in str(caught.value)
