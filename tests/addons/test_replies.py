import gzip

import pytest
from mitmproxy import connection, flow
from mitmproxy.test import tflow

from llmtrace.addons.connections import PROVIDER_IDLE
from llmtrace.addons.replies import BREAKAGES, breakage, plain, refuse, replace_body
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


def test_a_silent_provider_is_a_timeout() -> None:
    about = tflow.tflow(err=True)
    about.server_conn.error = PROVIDER_IDLE
    assert breakage(about)[0] is Outcome.TIMEOUT


def test_a_closed_client_has_left() -> None:
    about = tflow.tflow(err=True)
    about.client_conn.state = connection.ConnectionState.CLOSED
    assert breakage(about)[0] is Outcome.CLIENT_LEFT
