"""Structured logs on standard error: one line per event, as text or JSON, never a payload.

The standard library's, with a formatter of ours: a logging package would cost each process
60 ms and 8 MB for what are two ways to write a line.
"""

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Final

QUIET: Final = ("mitmproxy", "asyncio", "tornado", "hpack", "h2", "wsproto", "httpx2", "httpcore2")
"""Libraries whose info lines quote traffic (paths, WebSocket payloads): only their warnings."""


class LineFormatter(logging.Formatter):
    """Writes a record as one line. Control characters, which a host name may hold, are escaped."""

    def __init__(self, *, form: str, process: str) -> None:
        super().__init__()
        self._json = form == "json"
        self._process = process

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, without its end."""
        event = record.getMessage()
        if record.exc_info and record.exc_info[0]:
            event = f"{event} ({record.exc_info[0].__name__})"  # its message may quote a payload
        when = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds")
        level = record.levelname.lower()
        if self._json:
            return json.dumps(
                {
                    "timestamp": when,
                    "level": level,
                    "process": self._process,
                    "logger": record.name,
                    "event": one_line(event),
                }
            )
        return f"{when} {level:<8} {self._process:<10} {one_line(event)} [{record.name}]"


def configure(*, level: str, form: str, process: str) -> None:
    """Send all logs of this process to standard error.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: ``text`` or ``json``.
        process: Who logs: ``supervisor``, ``worker-0``, ``recorder``.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(LineFormatter(form=form, process=process))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def origin(error: BaseException) -> str:
    """Say what an error is and where it came from: ``KeyError at inner:12 < outer:40``.

    Its message is left out: it may quote a prompt.
    """
    frames = traceback.extract_tb(error.__traceback__)
    where = " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-4:]))
    return f"{type(error).__name__} at {where}"


def one_line(text: str) -> str:
    """Escape what would break a line or move a terminal's cursor."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
