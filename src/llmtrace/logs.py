"""Structured logs on standard error: one line per event, as text or JSON, never a payload."""

import logging
import logging.config
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Final

import structlog

QUIET: Final = ("mitmproxy", "asyncio", "tornado", "hpack", "h2", "wsproto")
"""Libraries whose info lines quote traffic (paths, WebSocket payloads): only their warnings."""

type Event = MutableMapping[str, Any]


def configure(*, level: str, form: str, process: str) -> None:
    """Send all logs of this process to standard error.

    Args:
        level: ``debug``, ``info``, ``warning`` or ``error``.
        form: ``text`` or ``json``.
        process: Who logs: ``supervisor``, ``worker-0``, ``recorder``.
    """
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if form == "json"
        else structlog.dev.ConsoleRenderer(colors=False, pad_event_to=0, sort_keys=False)
    )
    shared: list[Any] = [
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _named(process),
        one_line,
    ]
    formatter = structlog.stdlib.ProcessorFormatter(
        foreign_pre_chain=shared,
        processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, renderer],
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level.upper())
    for name in QUIET:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def one_line(_logger: object, _method: str, event: Event) -> Mapping[str, Any]:
    """Escape what would break a line or move a terminal's cursor (a host name may hold it)."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            event[key] = "".join(
                c if c.isprintable() else c.encode("unicode_escape").decode() for c in value
            )
    return event


def _named(process: str) -> Any:
    def add(_logger: object, _method: str, event: Event) -> Mapping[str, Any]:
        event["process"] = process
        return event

    return add
