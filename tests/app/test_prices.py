import asyncio
import logging
import os
from datetime import UTC, datetime
from pathlib import Path

import pytest

from llmtrace.app.prices import PricingFile, check_prices, price_book, watch_prices
from llmtrace.config import Config, load
from llmtrace.domain.usage import Usage
from llmtrace.providers.custom_prices import PriceList
from llmtrace.providers.pricing import PriceBook
from llmtrace.storage.memory import MemoryTraceRepository
from llmtrace.testing.records import a_record

AT = datetime(2026, 11, 21, 12, tzinfo=UTC)
MILLION = Usage(input_tokens=1_000_000)


def config_with(file: Path) -> Config:
    return load(environ={}, overrides={"cost_estimation.pricing_file": str(file)})


def write(file: Path, dollars: object) -> None:
    """Write a file as editors do: a new one in its place."""
    new = file.with_suffix(".new")
    new.write_text(f"mine: {{input_per_million: {dollars}, output_per_million: 2}}\n")
    new.replace(file)


def cost(book: PriceBook | None) -> int | None:
    assert book is not None
    priced = book.price("anyone", "mine", MILLION, at=AT)
    return priced.nano_usd if priced else None


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "prices.yaml"
    write(path, 1)
    return path


def watched(file: Path) -> tuple[PriceBook, PricingFile]:
    book = price_book(config_with(file))
    assert book is not None
    watch = PricingFile(book, file)
    watch.check()
    return book, watch


def test_prices_of_a_file_are_in_force(file: Path) -> None:
    assert cost(price_book(config_with(file))) == 10**9


def test_a_bad_price_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "prices.yaml"
    file.write_text("mine: {input_per_million: -1}\n")
    with pytest.raises(ValueError, match=r"prices\.yaml"):
        price_book(config_with(file))


def test_prices_are_checked_without_loading_any_list(tmp_path: Path) -> None:
    check_prices(load(environ={}))
    tiers = [{"input_tokens_above": 5}, {"input_tokens_above": 5}]
    model = {"input_per_million": 1, "output_per_million": 1, "tiers": tiers}
    twice = load(environ={}, overrides={"cost_estimation.custom_models": {"m": model}})
    with pytest.raises(ValueError, match=r"custom_models\['m'\].tiers\[1\].*5 stands there twice"):
        check_prices(twice)
    with pytest.raises(OSError, match="prices"):
        check_prices(config_with(tmp_path / "prices.yaml"))


def test_without_cost_estimation_there_are_no_prices() -> None:
    assert price_book(load(environ={}, overrides={"cost_estimation.enabled": False})) is None


def test_a_changed_file_is_read_anew(file: Path) -> None:
    book, watch = watched(file)
    write(file, 3)
    assert watch.check()
    assert cost(book) == 3 * 10**9


def test_a_file_of_the_same_length_and_time_is_told_by_its_inode(file: Path) -> None:
    book, watch = watched(file)
    before = file.stat()
    write(file, 4)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert watch.check()
    assert cost(book) == 4 * 10**9


def test_a_file_that_is_as_before_is_not_read(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, watch = watched(file)
    monkeypatch.setattr("llmtrace.app.prices.read_pricing_file", lambda _: pytest.fail("read"))
    assert not watch.check()


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("mine: {input_per_million: x, output_per_million: 2}\n", "['mine'].input_per_million"),
        ("mine: {}\nmine: {}\n", "prices.yaml:2: the key 'mine' stands there twice"),
        ("mine: [\n", "prices.yaml:2: neither YAML nor JSON"),
        (None, "prices.yaml: No such file"),
    ],
    ids=["bad-entry", "twice", "no-yaml", "gone"],
)
def test_a_bad_file_keeps_the_prices_before_and_is_warned_of_once(
    file: Path, caplog: pytest.LogCaptureFixture, text: str | None, says: str
) -> None:
    book, watch = watched(file)
    if text is None:
        file.unlink()
    else:
        file.write_text(text)
    assert not watch.check()
    assert not watch.check()
    (warning,) = [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]
    assert says in warning
    assert "stay in force until it is corrected" in warning
    assert cost(book) == 10**9
    write(file, 5)
    assert watch.check()
    assert cost(book) == 5 * 10**9


def test_a_worker_starts_with_the_last_good_file(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    kept = file.with_name("kept") / "prices"
    price_book(config_with(file), last_good=kept)
    file.write_text("mine: {}\n")
    assert cost(price_book(config_with(file), last_good=kept)) == 10**9
    assert "the last prices that could be read are used" in caplog.text
    with pytest.raises(ValueError, match="mine"):
        price_book(config_with(file))


async def test_the_file_is_watched_until_the_worker_ends(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config, use, loop = config_with(file), PriceBook.use, asyncio.get_running_loop()
    used = asyncio.Event()

    def told(book: PriceBook, listed: PriceList) -> None:
        use(book, listed)
        loop.call_soon_threadsafe(used.set)

    monkeypatch.setattr(PriceBook, "use", told)
    book = price_book(config)
    watching = asyncio.create_task(watch_prices(config, book, every=0.001))
    await asyncio.wait_for(used.wait(), 5)
    used.clear()
    write(file, 7)
    await asyncio.wait_for(used.wait(), 5)
    assert cost(book) == 7 * 10**9
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_without_a_file_nothing_is_watched() -> None:
    config = load(environ={})
    await watch_prices(config, price_book(config))
    await watch_prices(config, None)


def test_an_old_trace_keeps_its_cost_when_prices_change(file: Path) -> None:
    book, watch = watched(file)
    traces = MemoryTraceRepository()
    first = book.price("anyone", "mine", MILLION, at=AT)
    assert first is not None
    record = a_record(cost_nano_usd=first.nano_usd, price_version=first.price_version)
    traces.put([record])
    write(file, 9)
    assert watch.check()
    again = book.price("anyone", "mine", MILLION, at=AT)
    assert again is not None
    old = traces.get(record.trace.trace_id)
    assert (old.cost_nano_usd, old.price_version) == (10**9, first.price_version)
    assert again.nano_usd == 9 * 10**9
    assert first.price_version != again.price_version  # the same day, another list
    assert first.price_version.endswith("@2026-11-21")
