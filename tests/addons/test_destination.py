"""Destinations are read off flows; the rules themselves are tested with the host table."""

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from llmtrace.addons.destination import Destination, Destinations
from llmtrace.providers.hosts import HostTable

BASES = {"vllm": "http://gpu.internal:8000/serving"}


def forward(host: str, *, port: int = 443, sni: str | None = None, said: str = "") -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.request.data.host, flow.request.data.port = host, port
    flow.request.headers["host"] = said or host
    flow.request.data.scheme = b"https"
    flow.request.data.path = b"/v1//chat/completions?x=1"
    flow.client_conn.sni = sni
    return flow


def reverse(path: str) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.client_conn.proxy_mode = ProxyMode.parse("reverse:https://llmtrace.invalid")
    flow.request.data.path = path.encode()
    flow.request.method = "POST"
    return flow


def of(flow: http.HTTPFlow) -> Destination:
    return Destinations(hosts=HostTable(), bases=BASES).of(flow)


@pytest.mark.parametrize(
    ("flow", "kind", "host"),
    [
        pytest.param(
            forward("api.openai.com", sni="api.openai.com"),
            "governed",
            "api.openai.com",
            id="plain",
        ),
        pytest.param(
            forward("api.openai.com", said="API.OpenAI.com:443"),
            "governed",
            "api.openai.com",
            id="other-spelling",
        ),
        pytest.param(
            forward("203.0.113.7", sni="api.openai.com", said="api.openai.com"),
            "governed",
            "api.openai.com",
            id="address-with-a-providers-name",
        ),
        pytest.param(forward("example.com"), "other", "example.com", id="no-provider"),
        pytest.param(
            forward("api.openai.com", said="example.com"), "refused", "", id="host-disagrees"
        ),
        pytest.param(
            forward("example.com", sni="api.openai.com"), "refused", "", id="sni-disagrees"
        ),
    ],
)
def test_a_forward_request_goes_where_all_its_names_say(
    flow: http.HTTPFlow, kind: str, host: str
) -> None:
    where = of(flow)
    assert (where.kind, where.host) == (kind, host)


def test_the_path_is_canonical_and_the_target_is_the_clients_own() -> None:
    where = of(forward("api.openai.com"))
    assert where.path == "/v1/chat/completions"
    assert where.target == "/v1//chat/completions?x=1"


@pytest.mark.parametrize(
    ("path", "host", "target", "provider"),
    [
        ("/openai/v1/models?a=b", "api.openai.com", "/v1/models?a=b", "openai"),
        ("/v1/messages", "api.anthropic.com", "/v1/messages", "anthropic"),
        ("/vllm/v1/chat/completions", "gpu.internal", "/serving/v1/chat/completions", "vllm"),
    ],
)
def test_a_base_url_path_names_its_provider(
    path: str, host: str, target: str, provider: str
) -> None:
    where = of(reverse(path))
    assert (where.kind, where.host, where.target) == ("governed", host, target)
    assert where.provider == provider


@pytest.mark.parametrize("path", ["/", "/nobody/knows", "/v1/../../etc/passwd", "/a%2fb%zz"])
def test_a_path_that_names_nobody_is_refused(path: str) -> None:
    where = of(reverse(path))
    assert where.kind == "refused"
    assert where.reason
