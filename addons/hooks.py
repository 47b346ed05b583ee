"""Calls the addons' hooks: found once, and closed for the flow when one fails."""

import inspect
import logging
from collections.abc import Callable, Coroutine, Generator
from functools import partial
from typing import Any

from mitmproxy import exceptions, flow, hooks
from mitmproxy.addonmanager import AddonManager

logger = logging.getLogger(__name__)


class Rest:
    """What is left of a coroutine that was begun without a task; to be awaited once, in one."""

    def __init__(self, running: Coroutine[Any, Any, None], waits_for: object) -> None:
        self._running = running
        self._waits_for = waits_for

    def __await__(self) -> Generator[Any, Any, None]:
        """Wait for what the coroutine waits for, and run it to its end."""
        waits_for = self._waits_for
        while True:
            try:
                told = yield waits_for
            except GeneratorExit:
                self._running.close()
                raise
            except BaseException as error:  # noqa: BLE001  # the coroutine's own affair
                step = partial(self._running.throw, error)
            else:
                step = partial(self._running.send, told)
            try:
                waits_for = step()
            except StopIteration:
                return


class HookTable(AddonManager):
    """mitmproxy's addon manager, with each event's handlers looked up once.

    mitmproxy searches every addon for every event; that search costs more than what the
    handlers do. An exception that an addon lets out is logged, as there, but then the flow is
    killed instead of being forwarded unread.
    """

    def __init__(self, master: Any) -> None:  # Any: mitmproxy leaves it untyped
        super().__init__(master)  # type: ignore[no-untyped-call]  # mitmproxy leaves it untyped
        self._found: dict[str, tuple[Callable[..., Any], ...]] = {}

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

    def _handlers(self, event: hooks.Hook) -> tuple[Callable[..., Any], ...]:
        found = self._found.get(event.name)
        if found is None:
            found = self._found[event.name] = tuple(
                call for addon in self.chain for _, call in self._iter_hooks(addon, event)
            )
        return found

    async def trigger_event(self, event: hooks.Hook) -> None:
        """Call every addon's handler of an event, in their order."""
        args = event.args()
        for handler in self._handlers(event):
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

    def begin(self, event: hooks.Hook) -> Rest | None:
        """Call every addon's handler as far as none has to wait; return what is left then.

        Nothing here may depend on the current task before it first waits.
        """
        if not self._handlers(event):
            return None
        running = self.trigger_event(event)
        try:
            waits_for = running.send(None)
        except StopIteration:
            return None
        return Rest(running, waits_for)


def _failed(event: hooks.Hook, args: list[Any]) -> None:
    logger.exception("an addon failed in %s; its flow is closed", event.name)
    _close(args)


def _close(args: list[Any]) -> None:
    for arg in args:
        if isinstance(arg, flow.Flow) and arg.killable:
            arg.kill()
