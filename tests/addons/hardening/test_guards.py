from mitmproxy.test import tutils

from llmtrace.addons.hardening.guards import Guards, unread
from llmtrace.addons.limits import Limits


def test_body_limit_is_the_general_one_unless_told_otherwise() -> None:
    request = tutils.treq()
    assert Guards(limits=Limits(body_bytes=5)).body_bytes(request) == 5
    assert Guards(body_limit=lambda _request: 7).body_bytes(request) == 7


def test_tunnels_need_no_account() -> None:
    guards = Guards()
    guards.relayed("www.example.org", 1, 2)
    assert guards == Guards(relayed=unread)
