"""The prices that a configuration asks for, and the file of prices while it changes."""

import asyncio
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING, Final

from llmtrace.config import Config
from llmtrace.providers.custom_prices import (
    CUSTOM_MODELS,
    EMPTY,
    PriceList,
    custom_prices,
    read_pricing_file,
)

if TYPE_CHECKING:
    from llmtrace.providers.pricing import PriceBook

logger = logging.getLogger(__name__)

CHECK_SECONDS: Final = 5.0
"""How often a file of prices is looked at."""

LAST_GOOD: Final = "pricing_file.last_good"
"""The name of the copy in the home folder."""

type _Stamp = tuple[int, int, int]


def price_book(config: Config, *, last_good: Path | None = None) -> "PriceBook | None":
    """Return the prices in force, None if calls are not to be priced.

    Args:
        config: Names the file and has prices of its own.
        last_good: Where a copy of the file is kept that could be read. It stands in for one
            that cannot: a worker must start, whatever somebody has just written there.

    Raises:
        ValueError: An entry of the file or of ``custom_models`` is wrong; the message names it.
        OSError: The file cannot be read.
    """
    cost = config.cost_estimation
    if not cost.enabled:
        return None
    from llmtrace.providers.pricing import PriceBook  # takes half a second: not at start

    listed = _listed(cost.pricing_file, last_good)
    return PriceBook(custom_models=_custom(config), listed=listed)


def check_prices(config: Config) -> None:
    """Read one's own prices, and nothing else: quick enough before anything starts.

    Raises:
        ValueError: An entry of the file or of ``custom_models`` is wrong; the message names it.
        OSError: The file cannot be read.
    """
    if config.cost_estimation.pricing_file:
        read_pricing_file(config.cost_estimation.pricing_file)
    custom_prices(_custom(config), CUSTOM_MODELS)


def _custom(config: Config) -> dict[str, dict[str, object]]:
    models = config.cost_estimation.custom_models
    return {name: model.model_dump() for name, model in models.items()}


def _listed(path: Path | None, last_good: Path | None) -> PriceList:
    if path is None:
        return EMPTY
    try:
        return _read(path, last_good)
    except (ValueError, OSError) as error:
        if last_good is None or not last_good.exists():
            raise
        logger.warning("%s; %s", _why(path, error), "the last prices that could be read are used")
        return read_pricing_file(last_good)


def _read(path: Path, last_good: Path | None) -> PriceList:
    listed = read_pricing_file(path)
    if last_good is not None:
        _keep(path, last_good)
    return listed


def _keep(path: Path, last_good: Path) -> None:
    """Keep a copy. It is whole or as before, and a hindrance costs only the copy."""
    temporary = last_good.with_suffix(f".{os.getpid()}")
    try:
        last_good.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(path.read_bytes())
        temporary.replace(last_good)
    except OSError as error:
        logger.warning("%s: not written: %s", last_good, error.strerror)


def _why(path: Path, error: Exception) -> str:
    """Say what is wrong with a file, which the message of a ValueError names already."""
    if isinstance(error, OSError):
        return f"cost_estimation.pricing_file: {path}: {error.strerror}"
    return f"cost_estimation.pricing_file: {error}"


class PricingFile:
    """A file of prices that may change at any time. The last good one stays in force."""

    def __init__(self, book: "PriceBook", path: Path, *, last_good: Path | None = None) -> None:
        self._book = book
        self._path = path
        self._last_good = last_good
        self._stamp: _Stamp | None = None
        self._version = ""

    def check(self) -> bool:
        """Read the file if it is another than before, and say whether its prices are now used.

        Takes a moment then: to be called in a thread. What cannot be used is warned of once.
        """
        stamp = self._look()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            listed = _read(self._path, self._last_good)
        except (ValueError, OSError) as error:
            logger.warning(
                "%s; the prices before stay in force until it is corrected", _why(self._path, error)
            )
            return False
        if listed.version == self._version:
            return False
        first, self._version = not self._version, listed.version
        self._book.use(listed)
        if not first:
            logger.info("%s: new prices are in force (models: %d)", self._path, len(listed.models))
        return True

    def _look(self) -> _Stamp:
        try:
            status = self._path.stat()
        except OSError:
            return (0, 0, 0)
        return (status.st_mtime_ns, status.st_size, status.st_ino)


async def watch_prices(
    config: Config,
    book: "PriceBook | None",
    *,
    last_good: Path | None = None,
    every: float = CHECK_SECONDS,
) -> None:
    """Look at the file of prices every few seconds, until cancelled; where there is one."""
    path = config.cost_estimation.pricing_file
    if book is None or path is None:
        return
    file = PricingFile(book, path, last_good=last_good)
    while True:
        await asyncio.to_thread(file.check)
        await asyncio.sleep(every)
