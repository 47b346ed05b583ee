"""How far the records of one worker have been shipped, on the disk."""

import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from llmtrace.storage.spool_files import LEDGER, read_file, write_file
from llmtrace.storage.spool_io import OS_IO, SpoolIO

logger = logging.getLogger(__name__)

VERSION: Final = 1
MAX_BYTES: Final = 64 << 20


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class Position:
    """A place in the segments of a worker: the number of one, and an offset in bytes."""

    segment: int = 0
    offset: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """What need not be read again.

    Everything before ``position`` is in the store. ``open_calls`` are those of which the store
    has the START and the segments no END yet, with whether they were SENT. ``damaged`` are the
    numbers of segments to be kept for a look.
    """

    position: Position = Position()
    open_calls: Mapping[str, bool] = field(default_factory=dict)
    damaged: frozenset[int] = frozenset()


def load_ledger(directory: Path, io: SpoolIO = OS_IO) -> Ledger:
    """Return what was saved last; the beginning if there is nothing or it cannot be read.

    Starting over ships records again, which the store takes for what it has. Raises: OSError.
    """
    try:
        values = json.loads(read_file(directory / LEDGER, limit=MAX_BYTES, io=io))
        return _ledger(values)
    except FileNotFoundError:
        return Ledger()
    except (ValueError, TypeError, KeyError, AttributeError):
        logger.warning("spool %s: ledger cannot be read, shipping from the start", directory.name)
        return Ledger()


def save_ledger(directory: Path, ledger: Ledger, io: SpoolIO = OS_IO) -> None:
    """Keep it, on the disk when this returns. Raises: OSError; the one before stays then."""
    values = {
        "version": VERSION,
        "segment": ledger.position.segment,
        "offset": ledger.position.offset,
        "open": dict(ledger.open_calls),
        "damaged": sorted(ledger.damaged),
    }
    write_file(directory / LEDGER, json.dumps(values).encode(), io=io)


def _ledger(values: Mapping[str, Any]) -> Ledger:
    if values["version"] != VERSION:
        raise ValueError(f"ledger version {values['version']!r}, expected {VERSION}")
    segment, offset = int(values["segment"]), int(values["offset"])
    if segment < 0 or offset < 0:
        raise ValueError("negative position")
    return Ledger(
        position=Position(segment=segment, offset=offset),
        open_calls={str(key): bool(sent) for key, sent in values["open"].items()},
        damaged=frozenset(int(number) for number in values["damaged"]),
    )
