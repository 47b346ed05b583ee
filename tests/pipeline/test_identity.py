from datetime import UTC, datetime

import pytest

from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.credentials import Credentials
from llmtrace.pipeline.identity import BadIdentity, Caller, Identifier
from llmtrace.pipeline.keyring import KeyConflict, KeyMissing, KeyRing
from llmtrace.storage import keys
from llmtrace.storage.keys import Key, Role

TRUSTED = ["127.0.0.0/8", "::1/128", "10.1.0.0/16"]
STRANGER = "203.0.113.9"
HOME = b"home"
ID, TOKEN = keys.new_token()
AGENT, TENANT = "x-llmtrace-agent-id", "x-llmtrace-tenant-id"


def caller(
    headers: dict[str, str],
    *,
    peer: str = "127.0.0.1",
    repeated: frozenset[str] = frozenset(),
    key: str = "",
    keys: KeyRing | None = None,
    token: str = "",
    password: str = "",
) -> Caller:
    identifier = Identifier(secret=HOME, trusted=TRUSTED, keys=keys)
    credentials = Credentials([("x-api-key", key)] if key else [])
    shown = keys.present(token) if keys else None
    return identifier.caller(
        headers=headers,
        repeated=repeated,
        peer=peer,
        run="r1",
        credentials=credentials,
        keys=(shown,) if shown else (),
        proxy_key=keys.present(password) if keys else None,
    )


def ring(
    *,
    agent: str = "",
    run: str = "",
    required: bool = False,
    agreed: bool = False,
    counters: Counters | None = None,
) -> KeyRing:
    """Return a ring that knows one key of the tenant acme."""
    key = Key(
        id=ID,
        tenant="acme",
        agent=agent,
        run=run,
        role=Role.OPERATOR,
        created_at=datetime(2026, 11, 21, tzinfo=UTC),
        digest=keys.digest_of(TOKEN, HOME),
    )
    lookup = {ID: key}.__getitem__
    return KeyRing(
        lookup,
        secret=HOME,
        counters=counters or Counters(),
        required=required,
        agreed=agreed,
    )


@pytest.mark.parametrize("where", ["token", "password"])
def test_a_key_says_who_pays_and_who_acts(where: str) -> None:
    found = caller({}, keys=ring(agent="bot"), **{where: TOKEN})  # type: ignore[arg-type]  # names
    assert (found.tenant, found.agent, found.run) == ("acme", "bot", "r1")
    assert (found.key_id, found.role) == (ID, Role.OPERATOR)


@pytest.mark.parametrize("peer", ["127.0.0.1", STRANGER], ids=["trusted", "stranger"])
def test_what_headers_say_does_not_count_beside_a_key(peer: str) -> None:
    headers, counters = {TENANT: "evil", AGENT: "other"}, Counters()
    kept = ring(agent="bot", counters=counters)
    found = caller(headers, peer=peer, keys=kept, token=TOKEN, key="sk-somebody-1")
    assert (found.tenant, found.agent) == ("acme", "bot")
    assert counters.get("identity_conflict") == 1


@pytest.mark.parametrize(
    "claimed", ["evil", "x" * 10_000, "acme", ""], ids=["another", "no-name", "its-own", "none"]
)
def test_who_names_another_tenant_than_that_of_its_key_is_refused_where_that_is_wanted(
    claimed: str,
) -> None:
    counters = Counters()
    kept = ring(agreed=True, counters=counters)
    headers = {TENANT: claimed} if claimed else {}
    if claimed in ("acme", ""):
        assert caller(headers, peer=STRANGER, keys=kept, token=TOKEN).tenant == "acme"
        return
    with pytest.raises(KeyConflict, match="another tenant"):
        caller(headers, peer=STRANGER, keys=kept, token=TOKEN)
    assert counters.get("identity_conflict") == counters.get("key_refused", "conflict") == 1


@pytest.mark.parametrize(
    ("claimed", "told"),
    [
        pytest.param("evil", ["evil"], id="another"),
        pytest.param("acme", [], id="its-own"),
        pytest.param("x" * 10_000, [""], id="no-name"),
        pytest.param("", [], id="none"),
    ],
)
def test_who_names_another_tenant_than_that_of_its_key_is_told_of(
    claimed: str, told: list[str]
) -> None:
    found: list[tuple[str, str]] = []
    known = ring()
    identifier = Identifier(
        secret=HOME,
        trusted=[],
        keys=known,
        conflicted=lambda key, name: found.append((key.id, name)),
    )
    shown = known.present(TOKEN)
    assert shown is not None
    identifier.caller(
        headers={TENANT: claimed},
        repeated=frozenset(),
        peer=STRANGER,
        run="",
        credentials=Credentials([]),
        keys=(shown,),
    )
    assert found == [(ID, name) for name in told]


def test_the_user_of_the_proxy_is_the_agent_of_a_key_that_is_bound_to_none() -> None:
    found = caller({"user-agent": "curl/8"}, peer=STRANGER, keys=ring(), password=TOKEN)
    assert (found.agent, found.run) == ("r1", "")
    elsewhere = caller({"user-agent": "curl/8"}, peer=STRANGER, keys=ring(), token=TOKEN)
    assert (elsewhere.agent, elsewhere.run) == ("curl", "r1")


def test_who_has_a_key_that_is_bound_to_no_agent_may_name_it() -> None:
    headers = {AGENT: "bot-2", "user-agent": "curl/8"}
    assert caller(headers, peer=STRANGER, keys=ring(), password=TOKEN).agent == "bot-2"
    assert caller(headers, peer=STRANGER, keys=ring(agent="bot"), token=TOKEN).agent == "bot"
    assert caller(headers, peer=STRANGER, keys=ring(), token="").agent == "curl"


def test_the_key_of_a_run_leaves_the_agent_to_the_client() -> None:
    found = caller({"user-agent": "curl/8"}, keys=ring(run="r1"), password=TOKEN)
    assert (found.agent, found.run, found.key_id) == ("curl", "r1", ID)


def test_a_call_without_the_key_that_is_required_has_no_caller() -> None:
    with pytest.raises(KeyMissing):
        caller({TENANT: "acme"}, keys=ring(required=True), key="sk-somebody-1")


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
