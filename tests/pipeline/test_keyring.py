from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from llmtrace.pipeline import keyring
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.keyring import (
    FRESH_SECONDS,
    KeyExpired,
    KeyForbids,
    KeyMissing,
    KeyRefused,
    KeyRevoked,
    KeyRing,
    KeysUnavailable,
    KeyUnknown,
    TwoKeys,
)
from llmtrace.storage import keys
from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.keys import Key, KeyNotFound, Presented, Role

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
SECRET = b"of this installation"


class Shelf:
    """Keeps keys in a dictionary; ``asked`` counts look-ups."""

    def __init__(self) -> None:
        self.kept: dict[str, Key] = {}
        self.asked = 0
        self.broken = False

    def get(self, key_id: str) -> Key:
        self.asked += 1
        if self.broken:
            raise StorageUnavailable("locked, says the test")
        if key_id not in self.kept:
            raise KeyNotFound(key_id)
        return self.kept[key_id]

    def made(self, **changes: object) -> str:
        key_id, token = keys.new_token()
        digest = keys.digest_of(token, SECRET)
        key = Key(id=key_id, tenant="acme", role=Role.OPERATOR, created_at=NOON, digest=digest)
        self.kept[key_id] = replace(key, **changes)  # type: ignore[arg-type]  # replace checks
        return token

    def change(self, token: str, **changes: object) -> None:
        key_id = keys.presented(token, SECRET).id
        self.kept[key_id] = replace(self.kept[key_id], **changes)  # type: ignore[arg-type]


class Ring:
    """A ring over a shelf, with clocks that stand still."""

    def __init__(self, *, required: bool = True) -> None:
        self.shelf = Shelf()
        self.counters = Counters()
        self.seconds = 0.0
        self.now = NOON
        self.ring = KeyRing(
            self.shelf.get,
            secret=SECRET,
            counters=self.counters,
            required=required,
            clock=lambda: self.seconds,
            now=lambda: self.now,
        )

    def holder(self, *tokens: str, proxy: str = "") -> Key | None:
        return self.ring.holder([self.shown(token) for token in tokens], self.ring.present(proxy))

    def shown(self, token: str) -> Presented:
        shown = self.ring.present(token)
        assert shown is not None
        return shown


def test_a_key_tells_its_holder_wherever_it_is_presented() -> None:
    ring = Ring()
    token = ring.shelf.made()
    for held in (ring.holder(token), ring.holder(proxy=token), ring.holder(token, token)):
        assert held is not None
        assert held.tenant == "acme"


def test_the_key_of_the_request_counts_before_that_of_the_proxy() -> None:
    ring = Ring()
    own, proxys = ring.shelf.made(tenant="own"), ring.shelf.made(tenant="proxys")
    held = ring.holder(own, proxy=proxys)
    assert held is not None
    assert held.tenant == "own"
    with pytest.raises(KeyUnknown):
        ring.holder("llmt_wrong", proxy=proxys)


def test_without_a_key_a_call_is_refused_where_keys_are_required() -> None:
    with pytest.raises(KeyMissing, match="llmtrace keys create"):
        Ring().holder()
    assert Ring(required=False).holder() is None


@pytest.mark.parametrize("required", [True, False], ids=["required", "not-required"])
@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({"revoked_at": NOON}, KeyRevoked),
        ({"expires_at": NOON}, KeyExpired),
        ({"role": Role.VIEWER}, KeyForbids),
    ],
    ids=["revoked", "expired", "viewer"],
)
def test_a_key_that_lets_nobody_in_is_refused_and_counted(
    changes: dict[str, object], refused: type[KeyRefused], required: bool
) -> None:
    ring = Ring(required=required)
    token = ring.shelf.made(**changes)
    with pytest.raises(refused):
        ring.holder(token)
    assert ring.counters.snapshot() == {f"key_refused{{{refused.reason}}}": 1}


def test_strangers_are_told_nothing_of_what_was_wrong() -> None:
    ring = Ring()
    said = set()
    for changes in ({}, {"revoked_at": NOON}, {"expires_at": NOON}, {"role": Role.VIEWER}):
        token = ring.shelf.made(**changes)
        guessed = token[:-1] + ("a" if token[-1] != "a" else "b")
        for wrong in (guessed, keys.new_token()[1], "llmt_", "llmt_" + "x" * 10_000):
            with pytest.raises(KeyUnknown) as refusal:
                ring.holder(wrong)
            said.add(str(refusal.value))
    assert len(said) == 1


def test_no_refusal_has_the_key_in_it() -> None:
    ring = Ring()
    for changes in ({"revoked_at": NOON}, {"expires_at": NOON}, {"role": Role.VIEWER}):
        token = ring.shelf.made(**changes)
        with pytest.raises(KeyRefused) as refusal:
            ring.holder(token)
        assert token[-keys.SECRET_LENGTH :] not in repr(refusal.value)


def test_two_keys_are_refused() -> None:
    ring = Ring()
    with pytest.raises(TwoKeys):
        ring.holder(ring.shelf.made(), ring.shelf.made())


def test_a_key_is_looked_up_once_in_a_while_and_stops_soon_after_it_is_revoked() -> None:
    ring = Ring()
    token = ring.shelf.made()
    for _ in range(100):
        ring.holder(token)
    assert ring.shelf.asked == 1
    ring.shelf.change(token, revoked_at=NOON)
    ring.seconds += FRESH_SECONDS
    with pytest.raises(KeyRevoked):
        ring.holder(token)


def test_a_key_expires_though_it_was_just_looked_up() -> None:
    ring = Ring()
    token = ring.shelf.made(expires_at=NOON + timedelta(microseconds=1))
    assert ring.holder(token)
    ring.now += timedelta(microseconds=1)
    with pytest.raises(KeyExpired):
        ring.holder(token)


def test_a_new_key_and_a_new_secret_work_at_once() -> None:
    ring = Ring()
    key_id, token = keys.new_token()
    with pytest.raises(KeyUnknown):
        ring.holder(token)
    other = ring.shelf.made()
    ring.shelf.kept[key_id] = replace(
        ring.shelf.kept[keys.presented(other, SECRET).id],
        id=key_id,
        digest=keys.digest_of(token, SECRET),
    )
    assert ring.holder(token)
    rotated = keys.rotated_token(key_id)
    ring.shelf.change(token, digest=keys.digest_of(rotated, SECRET))
    assert ring.holder(rotated)
    with pytest.raises(KeyUnknown):
        ring.holder(token)


def test_ten_thousand_wrong_keys_leave_nothing_behind() -> None:
    ring = Ring()
    good = ring.shelf.made()
    ring.holder(good)
    for _ in range(10_000):
        with pytest.raises(KeyUnknown):
            ring.holder(keys.new_token()[1])
    assert len(ring.ring._known) == 1
    assert ring.counters.snapshot() == {"key_refused{unknown}": 10_000}


def test_what_is_remembered_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keyring, "MAX_KNOWN", 3)
    ring = Ring()
    tokens = [ring.shelf.made() for _ in range(5)]
    assert all(ring.holder(token) for token in tokens)
    assert len(ring.ring._known) == 3
    assert all(ring.holder(token) for token in tokens)


def test_while_keys_cannot_be_looked_up_none_is_believed_for_longer() -> None:
    ring = Ring()
    token = ring.shelf.made()
    ring.holder(token)
    ring.shelf.broken = True
    assert ring.holder(token)
    ring.seconds += FRESH_SECONDS
    with pytest.raises(KeysUnavailable):
        ring.holder(token)


def test_what_is_no_key_of_ours_is_none() -> None:
    ring = Ring(required=False)
    assert ring.ring.present("sk-provider-key") is None
    assert ring.ring.present("") is None
