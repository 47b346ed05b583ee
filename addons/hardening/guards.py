"""The limits in force, shared by the layers that keep them."""

from collections.abc import Callable
from dataclasses import dataclass, field

from mitmproxy import http

from llmtrace.addons.limits import Count, Limits, discard

type BodyLimit = Callable[[http.Request], int]
"""Says how many bytes the body of a request may have, from its head alone. Must not raise."""
type Relayed = Callable[[str, int, int], None]
"""Told the host of a tunnel and the bytes that went up and down in it. Must not raise."""


def unread(_host: str, _up: int, _down: int) -> None:
    """Keep no account of tunnels."""


@dataclass(slots=True, kw_only=True)
class Guards:
    """What a protocol layer asks before it accepts more.

    ``body_limit`` overrides ``limits.body_bytes`` by request, for routes that take files.
    ``draining`` asks each HTTP/1 client to close its connection after its answer.
    """

    limits: Limits = field(default_factory=Limits)
    count: Count = discard
    body_limit: BodyLimit | None = None
    relayed: Relayed = unread
    draining: bool = False

    def body_bytes(self, request: http.Request) -> int:
        """How many bytes the body of a request may have."""
        return self.body_limit(request) if self.body_limit else self.limits.body_bytes
