"""What was admitted while no ledger could be reached, kept in a file until the ledger has it.

One file for one worker, one JSON document a line: a call that was let through, what it came to,
or that it is booked. A line that was written survives the process; a torn last line is ignored.
Whoever holds the lock of a file owns it, so that the recovery takes those of dead workers only.
"""

import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, Final, Protocol

import orjson

from llmtrace.storage.ledger import Admission, Node, Settlement

logger = logging.getLogger(__name__)

SUFFIX: Final = ".unbooked"
MOST_BYTES: Final = 64 << 20
"""Size of a file from which on no call is let through without the ledger."""


class Replay(Protocol):
    """Remembers, beyond this process, what was admitted while no ledger could be reached."""

    def admitted(self, admission: Admission) -> bool:
        """Note a call that went on unbooked. False if it cannot be noted."""
        ...

    def settled(self, settlement: Settlement) -> None:
        """Note what such a call came to."""
        ...

    def booked(self, id: str) -> None:
        """Forget a call: the ledger has it."""
        ...

    def close(self) -> None:
        """Let go of what it holds."""
        ...


class ReplayFile:
    """Remembers for one worker. Used from its event loop and from the thread of its desk.

    The file is made when the first call is noted, and emptied when all are booked.
    """

    def __init__(self, path: Path, *, most_bytes: int = MOST_BYTES) -> None:
        self._path = path
        self._most_bytes = most_bytes
        self._fd: int | None = None
        self._open: set[str] = set()

    def admitted(self, admission: Admission) -> bool:
        """Note a call that went on unbooked. False if it cannot be noted."""
        self._open.add(admission.id)
        return self._append({"admitted": _packed(admission)})

    def settled(self, settlement: Settlement) -> None:
        """Note what such a call came to."""
        self._append(
            {
                "settled": {
                    "id": settlement.id,
                    "tenant": settlement.tenant,
                    "kind": settlement.kind,
                    "amounts": dict(settlement.amounts),
                }
            }
        )

    def booked(self, id: str) -> None:
        """Forget a call: the ledger has it."""
        self._open.discard(id)
        if self._open or self._fd is None:
            return
        try:
            os.ftruncate(self._fd, 0)
        except OSError as error:  # what is there is booked once more, which changes nothing
            logger.warning("%s: not emptied: %s", self._path, error.strerror)

    def close(self) -> None:
        """Let go of the file; it is deleted if nothing is in it."""
        if self._fd is None:
            return
        if not self._open:
            self._path.unlink(missing_ok=True)
        os.close(self._fd)
        self._fd = None

    def _append(self, line: Mapping[str, Any]) -> bool:
        try:
            if self._fd is None:
                self._fd = _opened(self._path)
            if os.fstat(self._fd).st_size > self._most_bytes:
                return False
            data = orjson.dumps(line) + b"\n"
            return os.write(self._fd, data) == len(data)
        except OSError as error:
            logger.error("%s: not written: %s", self._path, error.strerror)
            return False


@contextmanager
def abandoned(path: Path) -> Iterator[tuple[list[Admission], list[Settlement]] | None]:
    """Read the file of a dead worker, and delete it when the block ends well.

    None where the worker lives. Raises: OSError.
    """
    fd = os.open(path, os.O_RDWR)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
            return
        yield _read(path.read_bytes())
        path.unlink(missing_ok=True)
    finally:
        os.close(fd)


def _opened(path: Path) -> int:
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o600)
    fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return fd


def _read(content: bytes) -> tuple[list[Admission], list[Settlement]]:
    admissions: list[Admission] = []
    settlements: list[Settlement] = []
    for line in content.splitlines():
        try:
            document = orjson.loads(line)
            if "admitted" in document:
                admissions.append(_admission(document["admitted"]))
            else:
                settlements.append(Settlement(**document["settled"]))
        except (ValueError, TypeError, KeyError):
            logger.warning("an unbooked call cannot be read; its trace is there")
    return admissions, settlements


def _packed(admission: Admission) -> Mapping[str, Any]:
    return {
        "id": admission.id,
        "tenant": admission.tenant,
        "amounts": dict(admission.amounts),
        "strict": admission.strict,
        "owner": admission.owner,
        "lease_seconds": admission.lease_seconds,
        "nodes": [
            {"key": node.key, "unit": node.unit, "ends": node.ends and node.ends.isoformat()}
            for node in admission.nodes
        ],
    }


def _admission(values: Mapping[str, Any]) -> Admission:
    nodes = tuple(
        Node(
            key=node["key"],
            unit=node["unit"],
            limit=None,
            ends=datetime.fromisoformat(node["ends"]) if node["ends"] else None,
        )
        for node in values["nodes"]
    )
    return Admission(**{**values, "nodes": nodes})
