"""``GET /api/v1/costs/current``: what calls cost, and how the budgets stand now."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from llmtrace.api.access import Access, NoAccess, Reader
from llmtrace.api.health import JsonHandler, Route
from llmtrace.storage.base import StorageError

logger = logging.getLogger(__name__)

PATH: Final = "/api/v1/costs/current"
ASKED: Final = ("by", "since", "until", "tenant", "agent", "model")
"""What may be asked for, as with ``llmtrace costs``."""
MOST_AT_ONCE: Final = 2
MOST_WAITING: Final = 16
MAX_VALUE: Final = 512

type Report = Callable[[Mapping[str, str]], Mapping[str, object]]
"""Returns the answer to what was asked. It may wait. Raises: ValueError, StorageError."""


class Turns:
    """Lets so many in at once, and so many wait."""

    def __init__(self) -> None:
        self._room = asyncio.Semaphore(MOST_AT_ONCE)
        self._inside = 0

    async def run(self, work: Callable[[], Mapping[str, object]]) -> Mapping[str, object]:
        """Return what comes of the work, done in a thread. Raises: TooBusy."""
        if self._inside >= MOST_AT_ONCE + MOST_WAITING:
            raise TooBusy
        self._inside += 1
        try:
            async with self._room:
                return await asyncio.to_thread(work)
        finally:
            self._inside -= 1


class TooBusy(RuntimeError):
    """Too many ask at once."""


class CostsHandler(JsonHandler):
    """Sums up traces in a thread; a few at once, and no long queue."""

    def initialize(self, report: Report, access: Access, turns: Turns) -> None:
        """Take what it works with."""
        self._report = report
        self._access = access
        self._turns = turns

    async def get(self) -> None:
        """Answer with the document, or say why not."""
        status, said = await self._answer()
        if status == 401:
            self.set_header("WWW-Authenticate", "Bearer")
        self.say(status, said)

    async def _answer(self) -> tuple[int, Mapping[str, object]]:
        try:
            return 200, await self._turns.run(self._told)
        except NoAccess as error:
            return _failed(error.status, str(error))
        except ValueError as error:
            return _failed(400, str(error))
        except TooBusy:
            return _failed(503, "too many ask at once; try again in a moment")
        except StorageError as error:
            logger.warning("%s: %s", PATH, error)
            return _failed(503, "what is kept cannot be read now; the log says why")

    def _told(self) -> Mapping[str, object]:
        reader = self._access.reader(self.request.headers, self.request.remote_ip or "")
        return self._report(self._asked(reader))

    def _asked(self, reader: Reader) -> Mapping[str, str]:
        asked: dict[str, str] = {}
        for name, values in self.request.query_arguments.items():
            if name not in ASKED:
                raise ValueError(f"{name[:64]!r} cannot be asked for; {', '.join(ASKED)} can")
            if len(values) != 1 or len(values[0]) > MAX_VALUE:
                raise ValueError(f"{name} must stand once, with at most {MAX_VALUE} bytes")
            asked[name] = values[0].decode("utf-8")
        if reader.tenant is not None:
            if asked.get("tenant", reader.tenant) != reader.tenant:
                raise NoAccess(403, "this LLMTrace key reads of its own tenant alone")
            asked["tenant"] = reader.tenant
        return asked


def costs_route(report: Report, access: Access) -> Route:
    """Return the route, to be put into the server's table."""
    return Route(PATH, CostsHandler, {"report": report, "access": access, "turns": Turns()})


def _failed(status: int, message: str) -> tuple[int, Mapping[str, object]]:
    return status, {"error": {"message": message, "status": status}}
