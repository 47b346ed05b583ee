"""TLS handshakes that clients broke off, as the gateway notes them in ``tls_failures.json``."""

import json
import logging
import os
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from llmtrace.certs.files import read_bounded

logger = logging.getLogger(__name__)

MAX_BYTES: Final = 1_048_576
MAX_SHOWN: Final = 200
MAX_TLS_FAILURES: Final = 200
"""Server names that are noted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsFailure:
    """Handshakes for one server name that a client ended. ``last_seen`` is aware."""

    host: str
    error: str
    count: int
    last_seen: datetime


class TlsFailures:
    """Notes which clients do not trust our certificates, for ``llmtrace doctor``."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def note(self, sni: str, error: str) -> None:
        """Count a failed handshake. Workers share the file; two at once may count as one."""
        seen = {failure.host: failure for failure in read_failures(self._path)}
        if sni not in seen and len(seen) >= MAX_TLS_FAILURES:
            return
        before = seen[sni].count if sni in seen else 0
        now = datetime.now(UTC)
        seen[sni] = TlsFailure(host=sni, error=error[:200], count=before + 1, last_seen=now)
        rows = {
            f.host: {"error": f.error, "count": f.count, "last_seen": f.last_seen.isoformat()}
            for f in seen.values()
        }
        temporary = self._path.with_suffix(f".{os.getpid()}")
        try:
            temporary.write_text(json.dumps(rows))
            temporary.replace(self._path)
        except OSError as problem:
            logger.warning("%s: not written: %s", self._path, problem.strerror)


def read_failures(path: Path, *, since: datetime | None = None) -> tuple[TlsFailure, ...]:
    """Return the failures, the latest first; none where the file is missing or cannot be read.

    The file is ``{host: {"error": text, "count": n, "last_seen": ISO 8601 or Unix time}}``.
    """
    try:
        rows = json.loads(read_bounded(path, MAX_BYTES))
    except (OSError, ValueError):
        return ()
    pairs = rows.items() if isinstance(rows, dict) else ()
    found = [failure for host, row in pairs if (failure := _failure(host, row))]
    late = [failure for failure in found if since is None or failure.last_seen >= since]
    return tuple(sorted(late, key=lambda failure: failure.last_seen, reverse=True))


def _failure(host: str, row: object) -> TlsFailure | None:
    if not isinstance(row, dict):
        return None
    seen, count = row.get("last_seen"), row.get("count")
    try:
        when = (
            datetime.fromtimestamp(seen, UTC)
            if isinstance(seen, int | float)
            else datetime.fromisoformat(str(seen))
        )
    except (ValueError, OverflowError, OSError):
        return None
    return TlsFailure(
        host=host[:MAX_SHOWN],
        error=str(row.get("error", ""))[:MAX_SHOWN],
        count=count if isinstance(count, int) else 1,
        last_seen=when if when.tzinfo else when.replace(tzinfo=UTC),
    )
