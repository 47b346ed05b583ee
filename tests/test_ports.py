import socket

import pytest

from llmtrace.ports import Ports


def test_free_port_is_found_and_workers_can_share_it() -> None:
    ports = Ports([("127.0.0.1", 0)])
    (reserved,) = ports.reserved
    assert reserved.port > 0
    for _ in range(2):
        worker = socket.socket()
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        worker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        worker.bind((reserved.host, reserved.port))
        worker.listen()
        worker.close()
    ports.close()


def test_second_gateway_is_refused_even_before_the_first_one_listens() -> None:
    first = Ports([("127.0.0.1", 0)])
    port = first.reserved[0].port
    with pytest.raises(OSError, match=f"cannot listen on 127.0.0.1:{port} .*another gateway"):
        Ports([("127.0.0.1", 0), ("127.0.0.1", port)])
    first.close()
    Ports([("127.0.0.1", port)]).close()


def test_port_of_another_program_is_refused() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as taken,
        pytest.raises(OSError, match="choose another address"),
    ):
        Ports([("127.0.0.1", taken.getsockname()[1])])


def test_without_reuse_port_the_socket_is_to_be_inherited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(socket, "SO_REUSEPORT")
    ports = Ports([("127.0.0.1", 0)])
    assert ports.reserved[0].fd is not None
    ports.close()
