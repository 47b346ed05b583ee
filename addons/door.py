"""Lets in who has the key that the gateway asks for, and remembers whose tunnel it is."""

from collections.abc import Sequence
from typing import Final
from weakref import WeakKeyDictionary

from mitmproxy import connection, http
from mitmproxy.proxy.mode_specs import ReverseMode

from llmtrace.addons.presenting import NOBODY, Login, Shown, challenge, take_keys, take_login
from llmtrace.pipeline.keyring import KeyRefused, KeyRing, KeysUnavailable
from llmtrace.storage.keys import Presented

ENTERED: Final = "llmtrace.entered"


class Door:
    """Checks keys where the gateway itself is spoken to as a proxy.

    A tunnel needs a key before anything is looked up or opened for it, and so does a request in
    absolute form. What comes through a tunnel, and to the reverse listener, is answered in the
    shape of its dialect instead: ``Pipeline.identify`` checks that, for each call anew.
    """

    def __init__(self, keys: KeyRing) -> None:
        self._keys = keys
        self._tunnels: WeakKeyDictionary[connection.Client, Login] = WeakKeyDictionary()

    def connect(self, flow: http.HTTPFlow) -> None:
        """Remember whose tunnel a CONNECT opens, or answer it with 407."""
        login = take_login(flow.request, self._keys.present) or NOBODY
        if flow.response is None:
            self._admit(flow, (), login)
        if flow.response is None:
            self._tunnels[flow.client_conn] = login

    def enter(self, flow: http.HTTPFlow) -> Shown:
        """Take what a request shows of its caller out of it; answer it with 407 if need be.

        Credentials that a request has itself count, else those of its tunnel.
        """
        tunnel = self._tunnels.get(flow.client_conn)
        login = take_login(flow.request, self._keys.present) or tunnel or NOBODY
        keys = take_keys(flow.request, self._keys.present)
        if tunnel is None and not isinstance(flow.client_conn.proxy_mode, ReverseMode):
            self._admit(flow, keys, login)
        flow.metadata[ENTERED] = True
        return Shown(keys=keys, login=login)

    def key_of(self, client: connection.Client) -> Presented | None:
        """Return the key that opened the tunnel of a connection, None where none did."""
        return self._tunnels.get(client, NOBODY).key

    def still_lets_in(self, keys: Sequence[Presented], proxy_key: Presented | None) -> bool:
        """Whether who showed these keys would be let in now; so too while nobody can tell."""
        try:
            self._keys.holder(keys, proxy_key)
        except KeysUnavailable:
            return True
        except KeyRefused:
            return False
        return True

    def may_pass(self, flow: http.HTTPFlow, *, known: bool) -> bool:
        """Whether a request may pass unread after a fault: there is no key left in it, and it is
        ``known`` who calls, or need not be."""
        return ENTERED in flow.metadata and (known or not self._keys.required)

    def _admit(self, flow: http.HTTPFlow, keys: Sequence[Presented], login: Login) -> None:
        try:
            self._keys.holder(keys, login.key)
        except KeyRefused as error:
            flow.response = challenge(error)
