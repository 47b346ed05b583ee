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


def test_a_class_without_a_price_costs_as_what_it_is_part_of() -> None:
    rates = rates_of({"m": GOOD | {"cache_read_per_million": 0.01, "cache_write_per_million": 2}})
    assert rates.cache_audio_read == rates.cache_image_read == rates.cache_read == Rate(10_000_000)
    assert rates.cache_write_1h == rates.cache_write == Rate(2_000_000_000)
    assert rates.input_audio == rates.input_image == rates.input
    assert rates.reasoning == rates.output_audio == rates.output_image == rates.output


def test_prices_beside_tokens() -> None:
    entry = GOOD | {
        "per_request": 0.001,
        "per_image": 0.04,
        "audio_per_hour": 0.36,
        "tools": {"web_search": 0.01, "code_execution": 0},
    }
    rates = rates_of({"m": entry})
    assert rates.request == Rate(1_000_000 * 10**6)
    assert rates.audio == Rate(100_000_000)
    assert rates.tools == {
        "image": Rate(40_000_000 * 10**6),
        "web_search": Rate(10_000_000 * 10**6),
        "code_execution": Rate(0),
    }


def test_tiers_are_put_in_order_and_fill_in_what_they_do_not_name() -> None:
    rates = rates_of(
        {
            "m": {
                "input_per_million": 1,
                "output_per_million": 4,
                "cache_read_per_million": 0.1,
                "tiers": [
                    {"input_tokens_above": 200_000, "input_per_million": 3},
                    {
                        "input_tokens_above": 100_000,
                        "input_per_million": 2,
                        "output_per_million": 8,
                    },
                ],
            }
        }
    )
    nano = 10**9
    assert rates.input == Rate(nano, ((100_000, 2 * nano), (200_000, 3 * nano)))
    assert rates.output == Rate(4 * nano, ((100_000, 8 * nano), (200_000, 8 * nano)))
    assert rates.cache_read == Rate(nano // 10)
    assert rates.cache_write == rates.input


def test_a_service_tier_names_what_is_other() -> None:
    entry = GOOD | {
        "tools": {"web_search": 0.01, "file_search": 0.02},
        "tiers": [{"input_tokens_above": 10, "input_per_million": 9}],
        "service_tiers": {
            "Flex": {"input_per_million": 0.05, "tools": {"web_search": 0}},
        },
    }
    flex, other = rates_of({"m": entry}, tier="flex"), rates_of({"m": entry}, tier="scale")
    assert (flex.input, flex.output) == (Rate(50_000_000), other.output)
    assert flex.tools == {"web_search": Rate(0), "file_search": other.tools["file_search"]}
    assert other.input == Rate(150_000_000, ((10, 9_000_000_000),))


@pytest.mark.parametrize(
    ("day", "dollars"),
    [("2025-12-31", 1), ("2026-01-01", 2), ("2026-05-31", 2), ("2026-06-01", 3), ("2027-01-01", 1)],
)
def test_a_period_holds_from_its_first_day_until_before_its_last(day: str, dollars: int) -> None:
    entry = {
        "input_per_million": 1,
        "output_per_million": 1,
        "periods": [
            {
                "valid_from": "2026-01-01",
                "valid_until": date(2026, 6, 1),
                "input_per_million": 2,
                "output_per_million": 1,
            },
            {
                "valid_from": "2026-06-01",
                "valid_until": "2027-01-01",
                "input_per_million": 3,
                "output_per_million": 1,
            },
        ],
    }
    rates = rates_of({"m": entry}, day=date.fromisoformat(day))
    assert rates.input == Rate(dollars * 10**9)
    assert rates.version.endswith(f"@{day}")


def test_prices_of_another_time_are_none() -> None:
    entries = {
        "m": GOOD | {"valid_from": "2026-06-01"},
        "p": {"periods": [GOOD | {"valid_until": "2026-06-01"}]},
    }
    prices = custom_prices(entries, "here")
    assert prices.find("m", date(2026, 5, 31), "") is None
    assert prices.find("m", date(2026, 6, 1), "") is not None
    assert prices.find("p", date(2026, 6, 1), "") is None


def test_the_name_of_a_list_changes_with_its_content(tmp_path: Path) -> None:
    names = {custom_prices({"m": GOOD | {"per_request": usd}}, "x").version for usd in (1, 2, 2)}
    assert len(names) == 2
    path = tmp_path / "prices"
    path.write_text("# none yet\n")
    assert read_pricing_file(path).version.startswith("pricing_file/")


@pytest.mark.parametrize(
    ("entry", "says"),
    [
        (
            {"tools": {"web_serch": 1}},
            "['m'].tools: unknown key 'web_serch'; did you mean 'web_search'?",
        ),
        ({"tools": [1]}, "['m'].tools: expected a mapping, found a list"),
        ({"tools": {"web_search": "x"}}, "['m'].tools.web_search: expected USD for a use"),
        ({"per_request": -1}, "['m'].per_request: expected USD for a call"),
        ({"tiers": {}}, "['m'].tiers: expected a list of at most 16, found a dict"),
        ({"tiers": [{"input_tokens_above": n} for n in range(1, 18)]}, "a list of at most 16"),
        ({"tiers": [{"input_tokens_abve": 1}]}, "tiers[0]: unknown key 'input_tokens_abve'"),
        ({"tiers": [{"input_tokens_above": 0}]}, "tiers[0].input_tokens_above: expected a count"),
        (
            {"tiers": [{"input_tokens_above": True}]},
            "tiers[0].input_tokens_above: expected a count",
        ),
        ({"tiers": [{"input_tokens_above": 5}] * 2}, "input_tokens_above: 5 stands there twice"),
        ({"service_tiers": {"flex": {"periods": []}}}, "service_tiers.flex: unknown key 'periods'"),
        ({"service_tiers": {"flex": 1}}, "service_tiers.flex: expected prices, found a int"),
        ({"periods": [GOOD]}, "periods[0]: has neither valid_from nor valid_until"),
        ({"periods": [{"valid_from": "2026-01-01"}]}, "periods[0].input_per_million: missing"),
        ({"valid_from": "soon"}, "['m'].valid_from: expected a day such as 2026-11-30"),
        ({"valid_from": 3}, "['m'].valid_from: expected a day such as 2026-11-30, found a int"),
        (
            {"valid_from": "2026-02-01", "valid_until": "2026-01-01"},
            "valid_from 2026-02-01 is not before valid_until 2026-01-01",
        ),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_an_error_names_where_it_is(entry: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match="here") as caught:
        custom_prices({"m": GOOD | entry}, "here")
    assert says in str(caught.value)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (
            b"a: {input_per_million: 1}\na: {}\n",
            "prices:2: the key 'a' stands there twice; remove one",
        ),
        (b"a:\n  x: 1\n  x: 2\n", "prices:3: the key 'x' stands there twice"),
        (b"a: &x [1]\nb: [\n", "prices:3: neither YAML nor JSON; correct it there"),
        (b"#" * (4 << 20) + b"#", "longer than 4194304 bytes; is this a file of prices?"),
        (b"[" * 5_000, "neither YAML nor JSON"),
        (b"!!python/object/apply:os.system [x]", "neither YAML nor JSON"),
        (b"\n".join(b"m%d: {}" % n for n in range(10_001)), "at most 10000 models, found 10001"),
    ],
    ids=["twice", "twice-within", "broken", "huge", "deep", "code", "many"],
)
def test_a_file_that_cannot_be_used_says_where(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "prices"
    path.write_bytes(content)
    with pytest.raises(ValueError, match="prices") as caught:
        read_pricing_file(path)
    assert says in str(caught.value)


def test_the_example_of_the_documentation_can_be_used(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "prices.md").read_text()
    path = tmp_path / "prices.yaml"
    path.write_text(page.partition("```yaml\n")[2].partition("```")[0])
    prices = read_pricing_file(path)
    assert len(prices.models) == 3
    before, after = (prices.find("gpt-5", date(2026, month, 1), "flex") for month in (5, 6))
    assert before is not None
    assert after is not None
    assert (before.input, after.input) == (Rate(1_250_000_000), Rate(500_000_000))
