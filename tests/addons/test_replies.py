import gzip

import pytest
from mitmproxy import connection, flow
from mitmproxy.test import tflow

from llmtrace.addons.connections import PROVIDER_IDLE
from llmtrace.addons.replies import BREAKAGES, breakage, plain, refuse, replace_body, status_of
from llmtrace.domain.traces import Outcome
from llmtrace.pipeline import Refusal


def test_a_refusal_is_the_answer_and_names_its_trace() -> None:
    about = tflow.tflow()
    refusal = Refusal(
        status=400, code="c", message="m", body=b"{}", headers={"x-should-retry": "false"}
    )
    refuse(about, refusal, "t1")
    assert about.response is not None
    assert about.response.status_code == 400
    assert about.response.headers["x-llmtrace-trace-id"] == "t1"
    assert about.response.headers["x-should-retry"] == "false"


def test_a_refusal_without_a_trace_names_none() -> None:
    about = tflow.tflow()
    refuse(about, Refusal(status=400, code="c", message="m", body=b"{}"), "")
    assert about.response is not None
    assert "x-llmtrace-trace-id" not in about.response.headers


def test_plain_answers_are_text() -> None:
    assert plain(403, "no").content == b"no\n"


def test_another_body_has_no_coding_and_no_digest_of_the_old_one() -> None:
    request = tflow.tflow().request
    request.headers["content-encoding"] = "gzip"
    request.headers["digest"] = "sha-256=…"
    request.raw_content = gzip.compress(b"old")
    replace_body(request, b"another")
    assert request.raw_content == b"another"
    assert request.headers["content-length"] == "7"
    assert {"content-encoding", "digest"}.isdisjoint(request.headers)


@pytest.mark.parametrize(
    ("error", "outcome"),
    [
        pytest.param("client disconnected", Outcome.CLIENT_LEFT, id="client-left"),
        pytest.param("server closed", Outcome.CONNECT_FAILED, id="never-connected"),
    ],
)
def test_who_broke_off_is_told(error: str, outcome: Outcome) -> None:
    about = tflow.tflow(err=flow.Error(error))
    about.response = None
    about.server_conn.timestamp_tcp_setup = None
    found, code = breakage(about)
    assert found is outcome
    assert code in BREAKAGES


@pytest.mark.parametrize(
    ("error", "code", "status"),
    [
        pytest.param(
            "cannot connect to tls.h:1: refused", "provider_unreachable", 502, id="refused"
        ),
        pytest.param("no connection to h:1 within 9 s", "provider_unreachable", 502, id="too-slow"),
        pytest.param("name_unresolved: h: unknown", "provider_unresolved", 502, id="no-such-name"),
        pytest.param(
            "destination_forbidden: h:443 leads to a private address",
            "destination_forbidden",
            403,
            id="private-address",
        ),
        pytest.param(
            "Upstream proxy 10.0.0.1:3128 refused HTTP CONNECT request: 407 Who are you?",
            "upstream_proxy_refused",
            502,
            id="upstream-proxy",
        ),
        pytest.param("OpenSSL Error: no cipher", "provider_tls_failed", 502, id="tls"),
        pytest.param(
            "Certificate verify failed: self-signed", "provider_untrusted", 502, id="distrusted"
        ),
    ],
)
def test_why_a_provider_was_not_reached_is_told(error: str, code: str, status: int) -> None:
    about = tflow.tflow(err=flow.Error(error))
    about.response, about.server_conn.timestamp_tcp_setup = None, None
    assert breakage(about) == (Outcome.CONNECT_FAILED, code)
    assert status_of(Outcome.CONNECT_FAILED, code) == status
    assert BREAKAGES[code]


def test_a_silent_provider_is_a_timeout() -> None:
    about = tflow.tflow(err=True)
    about.server_conn.error = PROVIDER_IDLE
    assert breakage(about)[0] is Outcome.TIMEOUT


def test_a_closed_client_has_left() -> None:
    about = tflow.tflow(err=True)
    about.client_conn.state = connection.ConnectionState.CLOSED
    assert breakage(about)[0] is Outcome.CLIENT_LEFT
