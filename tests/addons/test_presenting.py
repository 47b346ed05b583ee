import base64

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from mitmproxy import http
from mitmproxy.test import tutils

from llmtrace.addons.presenting import NO_KEY, challenge, take_keys, take_login
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.keyring import KeyForbids, KeyMissing, KeyRing, KeysUnavailable
from llmtrace.storage import keys

ID, OTHER_ID = "abcdefghijkl", "mnopqrstuvwx"
TOKEN, OTHER = (f"{keys.PREFIX}{key_id}_{'a1B2c3D4' * 4}" for key_id in (ID, OTHER_ID))
PROVIDERS = "sk-provider-0123456789"
PRESENT = KeyRing(None, secret=b"home", counters=Counters()).present


def basic(user: str, password: str) -> str:
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


def a_request(*headers: tuple[str, str], path: str = "/v1/x") -> http.Request:
    fields = http.Headers([(n.encode(), v.encode("latin-1")) for n, v in headers])
    return tutils.treq(path=path.encode("latin-1"), headers=fields)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Authorization", f"Bearer {TOKEN}"),
        ("authorization", f"bearer  {TOKEN}"),
        ("Authorization", TOKEN),
        ("Authorization", basic("bot", TOKEN)),
        ("Authorization", basic(TOKEN, "")),
        ("X-Api-Key", TOKEN),
        ("api-key", f" {TOKEN} "),
        ("X-Goog-Api-Key", TOKEN),
        ("X-LLMTrace-Token", TOKEN),
    ],
    ids=["bearer", "spaced", "bare", "basic", "user", "anthropic", "azure", "google", "own"],
)
def test_a_key_is_taken_from_wherever_it_may_stand(name: str, value: str) -> None:
    request = a_request((name, value), ("accept", "*/*"))
    assert [shown.id for shown in take_keys(request, PRESENT)] == [ID]
    assert request.headers.fields == ((b"accept", b"*/*"),)


@pytest.mark.parametrize(
    ("path", "left"),
    [
        (f"/v1/x?alt=sse&key={TOKEN}&a=%20b", "/v1/x?alt=sse&a=%20b"),
        (f"/v1/x?key={TOKEN}", "/v1/x"),
        (f"/v1/x?API_KEY={TOKEN}&key={PROVIDERS}", f"/v1/x?key={PROVIDERS}"),
    ],
    ids=["among-others", "alone", "beside-the-providers"],
)
def test_a_key_is_taken_out_of_a_query(path: str, left: str) -> None:
    request = a_request(path=path)
    assert [shown.id for shown in take_keys(request, PRESENT)] == [ID]
    assert request.path == left


def test_a_browsers_key_is_taken_out_of_its_protocols() -> None:
    offered = f"realtime, openai-insecure-api-key.{TOKEN}, openai-beta.realtime-v1"
    request = a_request(("Sec-WebSocket-Protocol", offered))
    assert [shown.id for shown in take_keys(request, PRESENT)] == [ID]
    assert request.headers["sec-websocket-protocol"] == "realtime, openai-beta.realtime-v1"


def test_keys_of_providers_pass_untouched() -> None:
    headers = (
        ("Authorization", f"Bearer {PROVIDERS}"),
        ("authorization", basic("a", "b")),
        ("x-api-key", PROVIDERS),
        ("cookie", "llmt_theme=dark"),
        ("sec-websocket-protocol", f"a,  openai-insecure-api-key.{PROVIDERS}"),
    )
    request = a_request(*headers, path=f"/v1/llmt_?key={PROVIDERS}&&b=%zz")
    before = request.headers.fields, request.path
    assert take_keys(request, PRESENT) == ()
    assert (request.headers.fields, request.path) == before


def test_where_two_keys_stand_both_are_taken_and_told() -> None:
    request = a_request(("Authorization", f"Bearer {TOKEN}"), ("Authorization", f"Bearer {OTHER}"))
    assert [shown.id for shown in take_keys(request, PRESENT)] == [ID, OTHER_ID]
    assert not request.headers.fields


@pytest.mark.parametrize(
    ("headers", "path"),
    [
        ([("Cookie", f"a=b; k={TOKEN}")], "/v1/x"),
        ([("Sec-WebSocket-Protocol", f"a, {TOKEN}.b")], "/v1/x"),
        ([("X-Custom", f"the key is {TOKEN[:-9]}")], "/v1/x"),
        ([], f"/openai/{TOKEN}/v1/x"),
        ([], f"/v1/x?note={TOKEN}"),
    ],
    ids=["cookie", "odd-protocol", "other-header-cut-short", "path", "other-parameter"],
)
def test_a_key_in_the_wrong_place_lets_nobody_in_and_goes_nowhere(
    headers: list[tuple[str, str]], path: str
) -> None:
    request = a_request(*headers, path=path)
    assert take_keys(request, PRESENT) == ()
    assert keys.PREFIX not in repr(request.headers.fields) + request.path


NAMES = st.sampled_from(
    ["authorization", "cookie", "x-api-key", "sec-websocket-protocol", "x-llmtrace-token", "accept"]
)
AROUND = st.text("aZ09_-. ,;=:/&?%", max_size=30)


@settings(max_examples=200, deadline=None)
@given(
    headers=st.lists(st.tuples(NAMES, AROUND, AROUND), max_size=4), path=st.tuples(AROUND, AROUND)
)
def test_no_key_is_left_whatever_stands_around_it(
    headers: list[tuple[str, str, str]], path: tuple[str, str]
) -> None:
    fields = [(name, f"{before}{TOKEN}{after}") for name, before, after in headers]
    request = a_request(*fields, path=f"/{path[0]}{TOKEN}{path[1]}")
    take_keys(request, PRESENT)
    assert TOKEN not in repr(request.headers.fields) + request.path


@pytest.mark.parametrize(
    "value",
    ["t", "", "llmt_", "llmt_" + "x" * 10_000, "llmt_\xff", f"{TOKEN}, {TOKEN}", f"Bearer {TOKEN}"],
    ids=["word", "empty", "prefix", "10000-characters", "not-ascii", "joined", "scheme"],
)
def test_what_is_sent_as_a_token_and_is_none_is_told_as_none(value: str) -> None:
    request = a_request(("X-LLMTrace-Token", value))
    assert take_keys(request, PRESENT) == (NO_KEY,)
    assert not request.headers.fields


def test_the_password_of_the_proxy_may_be_a_key() -> None:
    request = a_request(("Proxy-Authorization", basic("bot", TOKEN)))
    login = take_login(request, PRESENT)
    assert login is not None
    assert (login.user, login.key and login.key.id) == ("bot", ID)
    assert not request.headers.fields


@pytest.mark.parametrize(
    "value",
    ["Basic", "Basic !!!", basic("a", "b\x00"), "Bearer x", "Basic " + "A" * 9_000],
    ids=["bare", "no-base64", "nul", "bearer", "long"],
)
def test_proxy_credentials_that_are_none_name_nobody(value: str) -> None:
    login = take_login(a_request(("proxy-authorization", value)), PRESENT)
    assert login is not None
    assert (login.user, login.key) == ("", None)


def test_two_proxy_credentials_are_none() -> None:
    twice = [("proxy-authorization", basic("bot", TOKEN))] * 2
    request = a_request(*twice)
    login = take_login(request, PRESENT)
    assert login is not None
    assert login.key is None
    assert not request.headers.fields


def test_a_request_without_proxy_credentials_has_no_login() -> None:
    assert take_login(a_request(), PRESENT) is None


@pytest.mark.parametrize(
    ("error", "status", "asks"),
    [
        (KeyMissing(), 407, True),
        (KeyForbids("viewer"), 403, False),
        (KeysUnavailable(), 503, False),
    ],
    ids=["missing", "role", "unavailable"],
)
def test_a_proxy_asks_for_a_key_where_one_would_help(
    error: KeyMissing, status: int, asks: bool
) -> None:
    answer = challenge(error)
    assert answer.status_code == status
    assert ("proxy-authenticate" in answer.headers) == asks
    assert "llmtrace" in (answer.text or "").lower()
