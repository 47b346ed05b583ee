"""The one outer guard (I1): nothing leaves a hook of ours.

mitmproxy logs what a hook raises and forwards the message unread, and it drops the chunk of a
stream whose callable raises. So every hook and every stream callable is wrapped here: what
goes wrong inside becomes the configured verdict, and is counted.
"""

import functools
import logging
from collections.abc import Callable, Coroutine
from typing import Any, Final

from llmtrace.logs import origin
from llmtrace.pipeline.threads import is_cancelled

logger = logging.getLogger(__name__)

FATAL: Final = (KeyboardInterrupt, SystemExit)

type Hook[A, T] = Callable[[A, T], Coroutine[Any, Any, None]]


def guarded[A, T](name: str, rescue: Callable[[A, T], None]) -> Callable[[Hook[A, T]], Hook[A, T]]:
    """Wrap an ``async`` hook so that ``rescue`` decides when it raises.

    Args:
        name: The hook's name, as counted and logged.
        rescue: Called with the addon and the flow. If it raises too, the flow is killed.
    """

    def wrap(hook: Hook[A, T]) -> Hook[A, T]:
        @functools.wraps(hook)
        async def run(self: A, flow: T) -> None:
            try:
                await hook(self, flow)
            except FATAL:
                raise
            except BaseException as error:
                report(name, error)
                _rescue(name, rescue, self, flow)
                if is_cancelled():
                    raise

        return run

    return wrap


def _rescue[A, T](name: str, rescue: Callable[[A, T], None], addon: A, flow: T) -> None:
    try:
        rescue(addon, flow)
    except FATAL:
        raise
    except BaseException as error:
        report(f"{name}.rescue", error)
        kill = getattr(flow, "kill", None)
        if callable(kill) and getattr(flow, "killable", False):
            kill()


def guarded_stream(
    name: str, pass_on: Callable[[bytes], bytes], rescue: Callable[[bytes], bytes]
) -> Callable[[bytes], bytes]:
    """Wrap a stream callable so that ``rescue`` says what goes out when it raises.

    ``rescue`` gets the chunk; if it raises as well, nothing more is let out.
    """

    def run(chunk: bytes) -> bytes:
        try:
            return pass_on(chunk)
        except FATAL:
            raise
        except BaseException as error:
            report(name, error)
        try:
            return rescue(chunk)
        except FATAL:
            raise
        except BaseException as error:
            report(f"{name}.rescue", error)
            return b""

    return run


def report(name: str, error: BaseException) -> None:
    """Log where an error came from, without its message."""
    logger.error("%s failed inside: %s", name, origin(error))
