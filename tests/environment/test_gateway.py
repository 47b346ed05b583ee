import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from llmtrace.environment.gateway import degraded, health, proxy_url, reachable


@contextmanager
def answering(status: int, body: bytes) -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status if self.path == "/health" else 404)
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.mark.parametrize(
    ("status", "body", "expected"),
    [
        pytest.param(200, b'{"status": "ok"}', {"status": "ok"}, id="ready"),
        pytest.param(200, b"ok", {}, id="no-json"),
        pytest.param(200, b"[1]", {}, id="no-object"),
        pytest.param(503, b"{}", None, id="not-ready"),
    ],
)
def test_a_gateway_is_asked_directly(
    status: int, body: bytes, expected: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    with answering(status, body) as listen:
        assert health(listen) == expected


def test_where_nobody_listens_there_is_no_gateway() -> None:
    assert health("127.0.0.1:1") is None


def test_an_address_to_bind_is_turned_into_one_to_reach() -> None:
    assert str(reachable("0.0.0.0:8642")) == "127.0.0.1:8642"
    assert proxy_url("[::]:8642") == "http://[::1]:8642"
    assert proxy_url("127.0.0.1:8642") == "http://127.0.0.1:8642"


@pytest.mark.parametrize(
    ("said", "reasons"),
    [
        (None, []),
        ({"status": "ok"}, []),
        ({"degraded": "model"}, []),
        ({"status": "degraded", "degraded": ["model a/b: gone"]}, ["model a/b: gone"]),
    ],
    ids=["none-runs", "whole", "odd", "degraded"],
)
def test_a_gateway_says_why_it_looks_for_less(
    said: dict[str, object] | None, reasons: list[str]
) -> None:
    assert degraded(said) == reasons
