"""Calls the addons' hooks: found once, and closed for the flow when one fails."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import fields
from typing import Any, Final, NamedTuple

from mitmproxy import exceptions, flow, hooks
from mitmproxy.addonmanager import AddonManager

logger = logging.getLogger(__name__)


class Handlers(NamedTuple):
    """What is called for an event; ``plain`` if nothing of it is ``async``."""

    calls: tuple[Callable[..., Any], ...]
    plain: bool


_NAMES: Final[dict[type[hooks.Hook], tuple[str, ...]]] = {}
"""What the arguments of a kind of event are called; there are some forty kinds."""


def arguments(event: hooks.Hook) -> list[Any]:
    """Return what an event's handlers are called with, as ``event.args()`` does."""
    names = _NAMES.get(type(event))
    if names is None:
        names = _NAMES[type(event)] = tuple(field.name for field in fields(event))  # type: ignore[arg-type]  # all are dataclasses
    return [getattr(event, name) for name in names]


class HookTable(AddonManager):
    """mitmproxy's addon manager, with each event's handlers looked up once.

    mitmproxy searches every addon for every event; that search costs more than what the
    handlers do. An exception that an addon lets out is logged, as there, but then the flow is
    killed instead of being forwarded unread.
    """

    def __init__(self, master: Any) -> None:  # Any: mitmproxy leaves it untyped
        super().__init__(master)  # type: ignore[no-untyped-call]  # mitmproxy leaves it untyped
        self._found: dict[str, Handlers] = {}

    def add(self, *addons: object) -> None:
        """Add addons to the end of the chain and have them load."""
        super().add(*addons)  # type: ignore[no-untyped-call]  # mitmproxy leaves it untyped

    def register(self, addon: object) -> object:
        """Add an addon; it is asked from the next event on."""
        self._found.clear()
        result: object = super().register(addon)  # type: ignore[no-untyped-call]  # mitmproxy leaves it untyped
        self._found.clear()
        return result

    def remove(self, addon: object) -> None:
        """Take an addon out."""
        self._found.clear()
        super().remove(addon)  # type: ignore[no-untyped-call]  # mitmproxy leaves it untyped

    def clear(self) -> None:
        """Take all addons out."""
        self._found.clear()
        super().clear()  # type: ignore[no-untyped-call]  # mitmproxy leaves it untyped

    def _handlers(self, event: hooks.Hook) -> Handlers:
        found = self._found.get(event.name)
        if found is None:
            calls = tuple(
                call for addon in self.chain for _, call in self._iter_hooks(addon, event)
            )
            plain = not any(map(inspect.iscoroutinefunction, calls))
            found = self._found[event.name] = Handlers(calls, plain)
        return found

    def is_plain(self, event: hooks.Hook) -> bool:
        """Whether none of an event's handlers is ``async``."""
        return self._handlers(event).plain

    async def trigger_event(self, event: hooks.Hook) -> None:
        """Call every addon's handler of an event, in their order."""
        await self.call_all(event, arguments(event))

    async def call_all(self, event: hooks.Hook, args: list[Any]) -> None:
        """Do the same with the event's arguments."""
        for handler in self._handlers(event).calls:
            try:
                result = handler(*args)
                if result is not None and inspect.isawaitable(result):
                    await result
            except exceptions.AddonHalt:
                return
            except exceptions.OptionsError:
                raise
            except Exception:  # noqa: BLE001  # logged there, and the flow is closed
                _failed(event, args)

    def call_now(self, event: hooks.Hook, args: list[Any]) -> None:
        """Do the same at once, for an event whose handlers are plain."""
        for handler in self._handlers(event).calls:
            try:
                handler(*args)
            except exceptions.AddonHalt:
                break
            except Exception:  # noqa: BLE001  # logged there, and the flow is closed
                _failed(event, args)


def _failed(event: hooks.Hook, args: list[Any]) -> None:
    logger.exception("an addon failed in %s; its flow is closed", event.name)
    _close(args)


def _close(args: list[Any]) -> None:
    for arg in args:
        if isinstance(arg, flow.Flow) and arg.killable:
            arg.kill()
