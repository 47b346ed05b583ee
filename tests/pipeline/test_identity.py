import pytest

from llmtrace.pipeline.credentials import Credentials
from llmtrace.pipeline.identity import BadIdentity, Caller, Identifier

TRUSTED = ["127.0.0.0/8", "::1/128", "10.1.0.0/16"]


def caller(
    headers: dict[str, str],
    *,
    peer: str = "127.0.0.1",
    repeated: frozenset[str] = frozenset(),
    key: str = "",
) -> Caller:
    identifier = Identifier(secret=b"home", trusted=TRUSTED)
    credentials = Credentials([("x-api-key", key)] if key else [])
    return identifier.caller(
        headers=headers, repeated=repeated, peer=peer, run="r1", credentials=credentials
    )


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "10.1.2.3", "::ffff:127.0.0.1"])
def test_a_trusted_peer_names_tenant_and_agent(peer: str) -> None:
    found = caller({"x-llmtrace-tenant-id": "acme", "x-llmtrace-agent-id": "bot-1"}, peer=peer)
    assert (found.tenant, found.agent, found.run) == ("acme", "bot-1", "r1")


@pytest.mark.parametrize("peer", ["10.2.0.1", "2001:db8::1", "no address", ""])
def test_another_peer_does_not(peer: str) -> None:
    found = caller({"x-llmtrace-tenant-id": "acme"}, peer=peer, key="sk-other-key-1")
    assert found.tenant.startswith("key-")


def test_without_a_name_the_key_is_the_tenant() -> None:
    one, two = caller({}, key="sk-key-number-one"), caller({}, key="sk-key-number-two")
    assert one.tenant != two.tenant
    assert one.tenant == caller({}, key="sk-key-number-one").tenant
    assert "number" not in one.tenant


def test_without_anything_there_is_a_stable_default() -> None:
    assert caller({}).tenant == "default"


@pytest.mark.parametrize(
    "name",
    ["x" * 129, "a b", "a\r\nb", "../a", "a\x00", "é"],
    ids=["long", "space", "newline", "path", "nul", "accent"],
)
def test_what_is_no_name_is_refused(name: str) -> None:
    with pytest.raises(BadIdentity, match="x-llmtrace-agent-id"):
        caller({"x-llmtrace-agent-id": name})


def test_two_names_are_refused() -> None:
    with pytest.raises(BadIdentity, match="twice"):
        caller({"x-llmtrace-agent-id": "a"}, repeated=frozenset({"x-llmtrace-agent-id"}))
