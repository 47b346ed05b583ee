"""Puts our protocol layers in the place of mitmproxy's while a gateway runs.

mitmproxy is a tool for people, and bounds little of what a client can make it hold. Its layers
are private classes; ours derive from them, and this is the one place that swaps them in. They
are tested with mitmproxy 12.2, so nothing else is accepted.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import mitmproxy.version
from mitmproxy import http
from mitmproxy.addons import next_layer
from mitmproxy.proxy import commands, events, layers
from mitmproxy.proxy.layers import http as http_layers
from mitmproxy.proxy.layers import tcp
from mitmproxy.proxy.layers import websocket as websocket_layers
from mitmproxy.proxy.layers.http import _http1
from mitmproxy.utils import asyncio_utils

from llmtrace.addons.closing import ClosableWebsocketLayer
from llmtrace.addons.hardening.answers import BoundedHttpStream
from llmtrace.addons.hardening.guards import Guards
from llmtrace.addons.hardening.handshakes import PromptClientTLSLayer
from llmtrace.addons.hardening.http1 import (
    BoundedHttp1Client,
    StrictHttp1Server,
    make_body_reader,
)
from llmtrace.addons.hardening.http2 import StrictHttp2Server
from llmtrace.addons.hardening.http2upstream import PacedHttp2Client
from llmtrace.addons.hardening.relays import CountedTCPLayer
from llmtrace.addons.hardening.shortcuts import SHORTCUTS

SUPPORTED: Final = "12.2."

_GUARDED: Final[tuple[tuple[object, str, type], ...]] = (
    (http_layers, "Http1Server", StrictHttp1Server),
    (http_layers, "Http1Client", BoundedHttp1Client),
    (http_layers, "Http2Server", StrictHttp2Server),
    (http_layers, "Http2Client", PacedHttp2Client),
    (http_layers, "HttpStream", BoundedHttpStream),
    (next_layer, "ClientTLSLayer", PromptClientTLSLayer),
    (layers, "ClientTLSLayer", PromptClientTLSLayer),
    (websocket_layers, "WebsocketLayer", ClosableWebsocketLayer),
    (layers, "TCPLayer", CountedTCPLayer),
    (tcp, "TCPLayer", CountedTCPLayer),
)
"""Where mitmproxy looks a layer up, and what it shall find."""


def _pass(*_args: object, **_kwargs: object) -> None:
    """Do nothing."""


def _new(cls: type, *_args: object, **_kwargs: object) -> object:
    """Make an object, and ask nothing about its class."""
    return object.__new__(cls)


_UNNEEDED: Final[tuple[tuple[object, str, object], ...]] = (
    (http.MessageData, "__post_init__", _pass),
    (asyncio_utils, "set_task_debug_info", _pass),
    (commands.StartHook, "__new__", _new),
    (events.CommandCompleted, "__new__", _new),
)
"""Help for mitmproxy's own developers: types of the fields of each head, names of tasks, whether
each hook's class is a dataclass. An eighth of what a call costs."""


def check_version(version: str = mitmproxy.version.VERSION) -> None:
    """Refuse a mitmproxy whose private classes these layers were not tested with.

    Raises:
        RuntimeError: It is another one.
    """
    if not version.startswith(SUPPORTED):
        raise RuntimeError(
            f"mitmproxy is {version}, expected {SUPPORTED}x; install the version that "
            "requirements.lock names"
        )


@contextmanager
def hardened(guards: Guards) -> Iterator[None]:
    """Have mitmproxy use our layers, under these limits, until the block is left.

    This changes mitmproxy for the whole process; two gateways in one process share the limits
    of the later one.

    Raises:
        RuntimeError: mitmproxy is not a version that these layers were tested with.
    """
    check_version()
    changes: list[tuple[Any, str, Any]] = [
        (place, name, type(cls.__name__, (cls,), {"guards": guards}))
        for place, name, cls in _GUARDED
    ]
    changes.append((_http1, "make_body_reader", make_body_reader))
    changes += (*_UNNEEDED, *SHORTCUTS)
    before = [(place, name, vars(place).get(name)) for place, name, _ in changes]
    for place, name, value in changes:
        setattr(place, name, value)
    try:
        yield
    finally:
        for place, name, value in before:
            if value is None:
                delattr(place, name)  # it was inherited
            else:
                setattr(place, name, value)
