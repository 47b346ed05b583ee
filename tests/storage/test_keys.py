from dataclasses import replace
from datetime import timedelta

import pytest

from llmtrace.storage import keys
from llmtrace.storage.keys import Key, Role
from llmtrace.testing.records import NOON

SECOND = timedelta(seconds=1)
SECRET = b"of this installation"


def a_key(token: str = "", **changes: object) -> Key:
    key_id, made = keys.new_token()
    key = Key(
        id=key_id,
        tenant="acme",
        role=Role.OPERATOR,
        created_at=NOON,
        digest=keys.digest_of(token or made, SECRET),
    )
    return replace(key, **changes)  # type: ignore[arg-type]  # replace checks the names


def test_a_key_is_told_by_its_id_and_never_kept_itself() -> None:
    key_id, token = keys.new_token()
    shown = keys.presented(token, SECRET)
    assert (shown.id, len(shown.digest)) == (key_id, 32)
    assert len(token) == keys.TOKEN_LENGTH
    assert token[-keys.SECRET_LENGTH :] not in repr(shown) + repr(a_key(token))
    assert shown.digest != keys.presented(token, b"another installation").digest


def test_no_two_keys_are_alike() -> None:
    assert len({keys.new_token() for _ in range(100)}) == 100


def test_a_rotated_key_keeps_its_id_alone() -> None:
    key_id, token = keys.new_token()
    rotated = keys.rotated_token(key_id)
    assert keys.presented(rotated, SECRET).id == key_id
    assert rotated[-keys.SECRET_LENGTH :] != token[-keys.SECRET_LENGTH :]


@pytest.mark.parametrize(
    "text",
    [
        "llmt_",
        "llmt_" + "a" * 10_000,
        "llmt_abcdefghijkl_" + "x" * 31,
        "llmt_abcdefghijkl_" + "x" * 33,
        "llmt_abcdefghijkl-" + "x" * 32,
        "llmt_abcdefghijk\x00_" + "x" * 32,
        "llmt_abcdefghijkl_" + "x" * 31 + "\n",
        "llmt_abcdefghijkl_" + "é" * 32,
        "LLMT_abcdefghijkl_" + "x" * 32,
        "llmt_abcdefghijkl_" + "x" * 31 + "\udcff",
    ],
    ids=range(10),
)
def test_what_cannot_be_a_key_has_no_id(text: str) -> None:
    assert keys.presented(text, SECRET).id == ""


def test_a_key_works_until_it_expires_or_is_revoked() -> None:
    assert a_key().works(NOON)
    expiring = a_key(expires_at=NOON)
    assert expiring.works(NOON - SECOND)
    assert not expiring.works(NOON)
    assert not a_key(revoked_at=NOON).works(NOON - SECOND)


def test_the_secret_before_proves_a_key_while_its_grace_lasts() -> None:
    old, new = keys.digest_of("old", SECRET), keys.digest_of("new", SECRET)
    key = a_key("new", previous=old, previous_until=NOON)
    assert key.is_proved_by(new, NOON + SECOND)
    assert key.is_proved_by(old, NOON - SECOND)
    assert not key.is_proved_by(old, NOON)
    assert not replace(key, previous_until=None).is_proved_by(old, NOON - SECOND)
    assert not a_key("new").is_proved_by(old, NOON)


def test_only_who_may_call_models_may() -> None:
    assert [role.value for role in Role if role.may_call] == ["admin", "operator"]
