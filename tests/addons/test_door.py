import base64
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from llmtrace.addons.door import Door
from llmtrace.pipeline.counters import Counters
from llmtrace.pipeline.keyring import KeyRing
from llmtrace.storage import keys
from llmtrace.storage.keys import Key, Role

ID = "abcdefghijkl"
TOKEN = f"{keys.PREFIX}{ID}_{'a1B2c3D4' * 4}"
KEY = Key(
    id=ID,
    tenant="acme",
    role=Role.OPERATOR,
    created_at=datetime(2026, 11, 21, tzinfo=UTC),
    digest=keys.digest_of(TOKEN, b"home"),
)


def a_door(*, required: bool = True, key: Key = KEY) -> Door:
    lookup = {key.id: key}.__getitem__
    return Door(KeyRing(lookup, secret=b"home", counters=Counters(), required=required))


def a_flow(password: str = "", *, mode: str = "regular") -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    if password:
        basic = base64.b64encode(f"bot:{password}".encode()).decode()
        flow.request.headers["proxy-authorization"] = f"Basic {basic}"
    return flow


def status(flow: http.HTTPFlow) -> int:
    return flow.response.status_code if flow.response else 0


@pytest.mark.parametrize(
    "password", ["", "word", "llmt_", TOKEN[:-1]], ids=["none", "word", "prefix", "short"]
)
def test_a_tunnel_without_a_key_is_not_opened(password: str) -> None:
    flow = a_flow(password)
    a_door().connect(flow)
    assert status(flow) == 407
    assert flow.response is not None
    assert flow.response.headers["proxy-authenticate"].startswith("Basic ")
    assert "proxy-authorization" not in flow.request.headers


def test_a_tunnel_with_a_key_is_opened_and_remembered() -> None:
    door, flow = a_door(), a_flow(TOKEN)
    door.connect(flow)
    assert status(flow) == 0
    inside = tflow.tflow()
    inside.client_conn = flow.client_conn
    shown = door.enter(inside)
    assert (shown.login.user, shown.login.key and shown.login.key.id) == ("bot", ID)
    assert status(inside) == 0


def test_without_keys_asked_for_only_a_wrong_one_is_refused() -> None:
    for password, expected in (("", 0), ("word", 0), (TOKEN, 0), ("llmt_x", 407)):
        flow = a_flow(password)
        a_door(required=False).connect(flow)
        assert status(flow) == expected


def test_who_may_only_read_opens_no_tunnel() -> None:
    flow = a_flow(TOKEN)
    a_door(key=replace(KEY, role=Role.VIEWER)).connect(flow)
    assert status(flow) == 403


def test_a_refusal_that_stands_already_stays() -> None:
    flow = a_flow()
    flow.response = http.Response.make(403)
    a_door().connect(flow)
    assert status(flow) == 403


def test_each_request_in_absolute_form_brings_its_own_credentials() -> None:
    door, first = a_door(), a_flow(TOKEN)
    assert door.enter(first).login.user == "bot"
    assert status(first) == 0
    second = a_flow()
    second.client_conn = first.client_conn
    assert door.enter(second).login.user == ""
    assert status(second) == 407


@pytest.mark.parametrize("refused", [False, True], ids=["for-want-of-a-key", "by-another"])
def test_a_tunnel_that_was_refused_lets_nothing_through(refused: bool) -> None:
    door, flow = a_door(), a_flow()
    flow.response = http.Response.make(403) if refused else None
    door.connect(flow)
    after = a_flow()
    after.client_conn = flow.client_conn
    door.enter(after)
    assert status(after) == 407


def test_the_reverse_listener_asks_for_no_proxy_credentials() -> None:
    flow = a_flow(mode="reverse:https://llmtrace.invalid")
    flow.request.headers["authorization"] = f"Bearer {TOKEN}"
    assert [key.id for key in a_door().enter(flow).keys] == [ID]
    assert status(flow) == 0


def test_what_nobody_answers_for_passes_no_fault() -> None:
    door, open_door = a_door(), a_door(required=False)
    flow = a_flow(mode="reverse:https://llmtrace.invalid")
    assert not open_door.may_pass(flow, known=False)
    for one in (door, open_door):
        one.enter(flow)
    assert open_door.may_pass(flow, known=False)
    assert not door.may_pass(flow, known=False)
    assert door.may_pass(flow, known=True)
