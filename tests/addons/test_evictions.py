"""Who was let in with a key that is good no more is hung up on."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from mitmproxy import connection
from mitmproxy.connection import ConnectionState
from mitmproxy.test import tflow

from llmtrace.addons import evictions as module
from llmtrace.addons.door import Door
from llmtrace.addons.evictions import Evictions
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.keyring import KeyRing
from llmtrace.storage import keys
from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.keys import Key, Presented, Role

NOON = datetime(2026, 11, 21, tzinfo=UTC)
HOME = b"home"


class Inside(Door):
    """Knows who opened which tunnel, since it is told."""

    def __init__(self, ring: KeyRing, logins: dict[connection.Client, Presented]) -> None:
        super().__init__(ring)
        self._logins = logins

    def key_of(self, client: connection.Client) -> Presented | None:
        return self._logins.get(client)


class People:
    """Some keys, who is inside with them, and who was hung up on."""

    def __init__(self, tokens: int = 1) -> None:
        self.tokens = [keys.new_token() for _ in range(tokens)]
        self.keys = {
            key_id: Key(
                id=key_id,
                tenant="acme",
                role=Role.OPERATOR,
                created_at=NOON,
                digest=keys.digest_of(token, HOME),
            )
            for key_id, token in self.tokens
        }
        self.down = False
        self.cut: list[connection.Client] = []
        self.counted: list[str] = []
        self.unread: list[connection.Client] = []
        self.logins: dict[connection.Client, Presented] = {}
        ring = KeyRing(self._get, secret=HOME, counters=Counters(), clock=lambda: 0.0)
        self.door = Inside(ring, self.logins)
        self.evictions = Evictions(
            self.door, self.unread, self.cut.append, count=self.counted.append
        )

    def _get(self, key_id: str) -> Key:
        if self.down:
            raise StorageUnavailable("locked, says the test")
        return self.keys[key_id]

    def shown(self, number: int = 0) -> Presented:
        return keys.presented(self.tokens[number][1], HOME)

    def tunnel(self, number: int | None = 0) -> connection.Client:
        client = tflow.tclient_conn()
        self.unread.append(client)
        if number is not None:
            self.logins[client] = self.shown(number)
        return client

    def revoke(self, number: int = 0) -> None:
        key_id = self.tokens[number][0]
        self.keys[key_id] = replace(self.keys[key_id], revoked_at=NOON)


async def test_whose_key_is_revoked_is_hung_up_on_and_nobody_else() -> None:
    people = People(tokens=2)
    gone, stays, keyless = people.tunnel(0), people.tunnel(1), people.tunnel(None)
    await people.evictions.look()
    assert people.cut == []
    people.revoke(0)
    people.door._keys._known.clear()  # a second has passed
    await people.evictions.look()
    assert people.cut == [gone]
    assert people.counted == ["evicted"]
    assert {stays, keyless}.isdisjoint(people.cut)


async def test_a_websocket_that_is_not_read_ends_with_the_key_in_its_request() -> None:
    people = People()
    client = tflow.tclient_conn()
    people.evictions.watch(client, [people.shown()], None)
    await people.evictions.look()
    assert people.cut == []
    people.revoke()
    people.door._keys._known.clear()
    await people.evictions.look()
    assert people.cut == [client]


def _expires(people: People) -> None:
    key_id = people.tokens[0][0]
    people.keys[key_id] = replace(people.keys[key_id], expires_at=NOON)


def _rotates(people: People) -> None:
    key_id = people.tokens[0][0]
    people.keys[key_id] = replace(people.keys[key_id], digest=b"another")


@pytest.mark.parametrize("ends", [_expires, _rotates], ids=["expired", "rotated"])
async def test_a_key_ends_in_other_ways_too(ends: Callable[[People], None]) -> None:
    people = People()
    client = people.tunnel()
    ends(people)
    await people.evictions.look()
    assert people.cut == [client]


async def test_nobody_is_hung_up_on_while_keys_cannot_be_looked_up() -> None:
    people = People()
    people.tunnel()
    people.revoke()
    people.down = True
    await people.evictions.look()
    assert people.cut == []


async def test_who_has_left_is_not_asked_for() -> None:
    people = People()
    people.tunnel().state = ConnectionState.CLOSED
    people.revoke()
    await people.evictions.look()
    assert people.cut == []


async def test_many_keys_are_looked_up_in_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "AT_ONCE", 2)
    people = People(tokens=5)
    clients = [people.tunnel(number) for number in range(5)]
    for number in range(5):
        people.revoke(number)
    await people.evictions.look()
    assert people.cut == clients
