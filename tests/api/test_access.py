from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from llmtrace.api.access import Access, NoAccess
from llmtrace.storage.keys import Key, KeyNotFound, Role, digest_of, new_token

NOW = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
SECRET = b"s" * 32


class Keys:
    def __init__(self) -> None:
        self.kept: dict[str, Key] = {}

    def make(self, role: Role, **values: Any) -> str:
        key_id, token = new_token()
        self.kept[key_id] = Key(
            id=key_id,
            tenant="acme",
            role=role,
            created_at=NOW,
            digest=digest_of(token, SECRET),
            **values,
        )
        return token

    def get(self, key_id: str) -> Key:
        if key_id not in self.kept:
            raise KeyNotFound(key_id)
        return self.kept[key_id]


@pytest.fixture
def keys() -> Keys:
    return Keys()


def access(keys: Keys, *, required: bool = False) -> Access:
    return Access(keys.get, secret=SECRET, required=required, now=lambda: NOW)


@pytest.mark.parametrize("peer", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
@pytest.mark.parametrize(
    "host", ["localhost:8644", "127.0.0.1:8644", "[::1]:8644", "LOCALHOST", "::1"]
)
def test_programs_of_this_machine_read_all(keys: Keys, peer: str, host: str) -> None:
    assert access(keys).reader({"host": host}, peer).tenant is None


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        pytest.param("192.0.2.1", "127.0.0.1", id="another-machine"),
        pytest.param("", "127.0.0.1", id="nobody"),
        pytest.param("127.0.0.1", "evil.test:8644", id="a-name-made-to-point-here"),
        pytest.param("127.0.0.1", "localhost.evil.test", id="a-name-like-it"),
        pytest.param("127.0.0.1", "", id="no-name"),
    ],
)
def test_others_read_nothing_without_a_key(keys: Keys, peer: str, host: str) -> None:
    with pytest.raises(NoAccess) as caught:
        access(keys).reader({"host": host}, peer)
    assert caught.value.status == 403


def test_without_a_key_nobody_reads_where_one_is_asked_for(keys: Keys) -> None:
    with pytest.raises(NoAccess) as caught:
        access(keys, required=True).reader({"host": "127.0.0.1"}, "127.0.0.1")
    assert caught.value.status == 401


@pytest.mark.parametrize(
    ("role", "tenant"), [(Role.ADMIN, None), (Role.OPERATOR, "acme"), (Role.VIEWER, "acme")]
)
@pytest.mark.parametrize("header", ["authorization", "x-llmtrace-token"])
def test_a_key_reads_of_its_tenant_and_an_admin_of_all(
    keys: Keys, role: Role, tenant: str | None, header: str
) -> None:
    token = keys.make(role)
    headers = {header: f"Bearer {token}" if header == "authorization" else token, "host": "x.test"}
    assert access(keys, required=True).reader(headers, "192.0.2.1").tenant == tenant


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda _: "sk-something-else", id="no-key"),
        pytest.param(lambda _: new_token()[1], id="unknown"),
        pytest.param(lambda k: k.make(Role.ADMIN)[:-1] + "~", id="wrong-letter"),
        pytest.param(lambda k: _other_secret(k.make(Role.ADMIN)), id="wrong-secret"),
        pytest.param(lambda k: k.make(Role.ADMIN, revoked_at=NOW - timedelta(1)), id="revoked"),
        pytest.param(lambda k: k.make(Role.ADMIN, expires_at=NOW), id="expired"),
        pytest.param(lambda _: "llmt_" + "x" * 100_000, id="long"),
    ],
)
def test_a_key_that_is_none_lets_nobody_in_not_even_this_machine(keys: Keys, make: Any) -> None:
    with pytest.raises(NoAccess) as caught:
        access(keys).reader(
            {"authorization": f"Bearer {make(keys)}", "host": "127.0.0.1"}, "127.0.0.1"
        )
    assert caught.value.status == 401


def _other_secret(token: str) -> str:
    return token[:-32] + new_token()[1][-32:]
