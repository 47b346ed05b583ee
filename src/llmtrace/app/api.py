"""Wires the routes of the gateway's own server."""

from collections.abc import Sequence
from contextlib import closing

from llmtrace.api.access import Access
from llmtrace.api.costs import costs_route
from llmtrace.api.health import Route
from llmtrace.app.costs import costs_of
from llmtrace.app.identity import open_keys
from llmtrace.app.settings import Settings
from llmtrace.storage.keys import Key


def routes_of(settings: Settings) -> Sequence[Route]:
    """Return the routes beside ``/health``. Raises: OSError, if there is no secret to be read."""

    def lookup(key_id: str) -> Key:
        with closing(open_keys(settings)) as keys:
            return keys.get(key_id)

    access = Access(lookup, secret=settings.secret(), required=settings.config.auth.enabled)
    return [costs_route(lambda asked: costs_of(settings, asked), access)]
