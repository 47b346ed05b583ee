"""The gateway's own HTTP server, and its first route.

``GET /health``: 200 when the gateway serves, 503 with what is missing when it does not.
"""

import json
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from tornado import web
from tornado.httpserver import HTTPServer

type Health = Callable[[], tuple[int, Mapping[str, object]]]
"""Returns the status to answer with and what to say. Must not wait."""

MAX_HEAD_BYTES: Final = 16 * 1024
MAX_BODY_BYTES: Final = 1024
IDLE_SECONDS: Final = 10.0


class JsonHandler(web.RequestHandler):
    """Answers with JSON that nobody keeps."""

    def set_default_headers(self) -> None:
        """Say no more of the server than is needed."""
        self.clear_header("Server")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    def say(self, status: int, said: Mapping[str, object]) -> None:
        """Answer, and be done."""
        self.set_status(status)
        self.set_header("Content-Type", "application/json")
        self.finish(json.dumps(said, sort_keys=True) + "\n")


@dataclass(frozen=True, slots=True)
class Route:
    """A path (a regular expression for all of it), and what answers there."""

    path: str
    handler: type[JsonHandler]
    values: Mapping[str, Any] = field(default_factory=dict)
    """What ``handler.initialize`` is given."""


class _HealthHandler(JsonHandler):
    def initialize(self, health: Health) -> None:
        self._health = health

    def get(self) -> None:
        self.say(*self._health())

    head = get


class HealthServer:
    """Serves the gateway's health, and further ``routes``, on the running event loop.

    Raises:
        OSError: The address cannot be listened on.
    """

    def __init__(
        self, *, health: Health, host: str, port: int, routes: Sequence[Route] = ()
    ) -> None:
        table = [Route(r"/health", _HealthHandler, {"health": health}), *routes]
        application = web.Application(
            [(route.path, route.handler, dict(route.values)) for route in table],
            log_function=lambda _handler: None,
        )
        self._server = HTTPServer(
            application,
            max_header_size=MAX_HEAD_BYTES,
            max_body_size=MAX_BODY_BYTES,
            idle_connection_timeout=IDLE_SECONDS,
            body_timeout=IDLE_SECONDS,
        )
        try:
            family = socket.AF_INET6 if ":" in host else socket.AF_INET
            listening = socket.create_server((host, port), family=family)
        except OSError as error:
            raise OSError(
                error.errno,
                f"cannot listen on {host or '*'}:{port} ({error.strerror}); "
                "stop what holds the address, or choose another for api.listen",
            ) from error
        listening.setblocking(False)
        self.port: int = listening.getsockname()[1]
        self._server.add_socket(listening)

    async def stop(self) -> None:
        """Stop accepting and close what is open."""
        self._server.stop()
        await self._server.close_all_connections()
