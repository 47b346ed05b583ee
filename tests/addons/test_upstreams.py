import asyncio
import base64
from dataclasses import dataclass
from typing import Any

import pytest
from mitmproxy import http
from mitmproxy.proxy.mode_specs import ProxyMode
from mitmproxy.test import tflow

from llmtrace.addons.upstreams import BaseUrl, ProxyUrl, Upstreams
from llmtrace.testing.dataplane import PROVIDER, read_answer

SECRET = "http://user:p%40ss@proxy.corp:3128"


@dataclass(frozen=True)
class Where:
    host: str = PROVIDER
    port: int = 443
    scheme: str = "https"
    target: str = "/v1/x?a=%2F"


def flow_in(mode: str) -> http.HTTPFlow:
    flow = tflow.tflow()
    flow.client_conn.proxy_mode = ProxyMode.parse(mode)
    flow.request.headers["host"] = "before"
    return flow


def where_to(flow: http.HTTPFlow) -> tuple[str, str, int, str, str]:
    request = flow.request
    return request.scheme, request.host, request.port, request.path, request.headers["host"]


def test_forward_request_without_a_mirror_is_left_alone() -> None:
    flow = flow_in("regular")
    before = flow.request.get_state()
    Upstreams().reach(flow, Where())
    assert flow.request.get_state() == before
    assert flow.server_conn.via is None


def test_reverse_request_goes_to_its_provider() -> None:
    flow = flow_in("reverse:https://llmtrace.invalid")
    Upstreams().reach(flow, Where())
    assert where_to(flow) == ("https", PROVIDER, 443, "/v1/x?a=%2F", PROVIDER)


@pytest.mark.parametrize("mode", ["regular", "reverse:https://llmtrace.invalid"])
def test_mirror_stands_in_for_a_host(mode: str) -> None:
    flow = flow_in(mode)
    upstreams = Upstreams(bases={PROVIDER: "http://mirror.corp:8080/openai/"})
    upstreams.reach(flow, Where())
    assert where_to(flow) == (
        "http",
        "mirror.corp",
        8080,
        "/openai/v1/x?a=%2F",
        "mirror.corp:8080",
    )


def test_ipv6_mirror_is_bracketed_in_host() -> None:
    flow = flow_in("regular")
    Upstreams(bases={PROVIDER: "https://[2001:db8::1]:444"}).reach(flow, Where())
    assert where_to(flow)[1:3] == ("2001:db8::1", 444)
    assert flow.request.headers["host"] == "[2001:db8::1]:444"


def test_what_the_configuration_names_is_trusted() -> None:
    upstreams = Upstreams(bases={PROVIDER: "http://127.0.0.1:9000"}, proxy=ProxyUrl.parse(SECRET))
    assert upstreams.trusted("127.0.0.1", 9000)
    assert upstreams.trusted("proxy.corp", 3128)
    assert not upstreams.trusted("127.0.0.1", 9001)


def test_reverse_request_goes_through_the_proxy() -> None:
    flow = flow_in("reverse:https://llmtrace.invalid")
    Upstreams(proxy=ProxyUrl.parse("http://proxy.corp:3128")).reach(flow, Where())
    assert flow.server_conn.via == ("http", ("proxy.corp", 3128))


def test_proxy_credentials_are_presented_and_never_printed() -> None:
    proxy = ProxyUrl.parse(SECRET)
    assert proxy.authorization == b"Basic " + base64.b64encode(b"user:p@ss")
    assert "p@ss" not in repr(proxy)
    assert base64.b64encode(b"user:p@ss").decode() not in repr(proxy)
    assert proxy.mode == "upstream:http://proxy.corp:3128"
    connect = flow_in("regular")
    Upstreams(proxy=proxy).http_connect_upstream(connect)
    assert connect.request.headers["proxy-authorization"].startswith("Basic ")
    plain = flow_in(proxy.mode)
    plain.request.scheme = "http"
    Upstreams(proxy=proxy).reach(plain, Where(scheme="http", port=80))
    assert plain.request.headers["proxy-authorization"].startswith("Basic ")
    inside = flow_in(proxy.mode)
    inside.request.scheme = "https"
    Upstreams(proxy=proxy).reach(inside, Where())
    assert "proxy-authorization" not in inside.request.headers


@pytest.mark.parametrize("url", ["ftp://a", "https://", "a.b", "https://a/?q=1", "https://a:x"])
def test_bad_base_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        BaseUrl.parse(url)


def test_bad_proxy_url_is_refused_without_quoting_it() -> None:
    with pytest.raises(ValueError, match="no proxy URL") as caught:
        ProxyUrl.parse("socks5://user:secret@proxy:1")
    assert "secret" not in str(caught.value)


async def test_many_calls_to_a_mirror_share_one_connection(gateway: Any, upstream: Any) -> None:
    mirror = await upstream()
    upstreams = Upstreams(bases={PROVIDER: f"http://127.0.0.1:{mirror.port}/m"})

    class Reach:
        def requestheaders(self, flow: http.HTTPFlow) -> None:
            upstreams.reach(flow, Where(target=flow.request.path))

    gw = await gateway(addons=[Reach()], to=mirror)
    reader, writer = await gw.tls("http/1.1")
    for _ in range(12):
        writer.write(f"GET /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\n\r\n".encode())
        assert (await read_answer(reader)).endswith(b"ok")
    assert mirror.connections == 1
    assert mirror.requests[0][0].startswith(b"GET /m/v1/x HTTP/1.1\r\n")


async def test_forward_listener_passes_everything_through_the_proxy(
    gateway: Any, upstream: Any
) -> None:
    proxy = ProxyUrl.parse("http://user:pass@127.0.0.1:3128")
    asked: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()

    async def note(_writer: asyncio.StreamWriter, head: bytes, _body: bytes) -> None:
        asked.set_result(head)

    plain = await upstream(note)
    gw = await gateway(addons=[Upstreams(proxy=proxy)], modes=(proxy.mode,), to=plain)
    _, (_, writer) = await gw.tunnel()
    await writer.start_tls(gw.client_context("http/1.1"), server_hostname=PROVIDER)
    writer.write(f"GET /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\n\r\n".encode())
    await writer.drain()
    head = await asyncio.wait_for(asked, 5)
    assert head.startswith(b"CONNECT api.openai.com:443 HTTP/1.1\r\n")
    assert base64.b64encode(b"user:pass") in head
