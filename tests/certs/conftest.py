"""A TLS server that answers as the gateway does: with leaves that mitmproxy mints for any name."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from dataclasses import dataclass, field
from functools import cached_property
from inspect import unwrap
from pathlib import Path

import pytest
from cryptography import x509
from mitmproxy import certs
from mitmproxy.addons.tlsconfig import _ip_or_dns_name
from mitmproxy.net import tls
from OpenSSL import SSL

from llmtrace.certs.authority import DH_FILE, CertificateAuthority

GOVERNED = ("api.openai.com", "anthropic.com", "openai.azure.com")
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 8\r\nConnection: close\r\n\r\nllmtrace"


@dataclass
class ThiefServer:
    """Serves TLS with the CA's key for whatever name a client asks, as a thief of it could."""

    store: certs.CertStore
    listener: socket.socket = field(default_factory=lambda: socket.create_server(("127.0.0.1", 0)))

    @property
    def port(self) -> int:
        return int(self.listener.getsockname()[1])

    def serve(self) -> None:
        with closing(self.listener):
            while True:
                try:
                    client, _ = self.listener.accept()
                except OSError:
                    return
                with closing(client), suppress(SSL.Error, OSError):
                    self._answer(client)

    def _answer(self, client: socket.socket) -> None:
        client.settimeout(10)
        connection = SSL.Connection(self._context, client)
        client.setblocking(True)
        self._use(connection, "")
        connection.set_accept_state()
        connection.do_handshake()
        connection.recv(65536)
        connection.sendall(ANSWER)
        connection.shutdown()

    @cached_property
    def _context(self) -> SSL.Context:
        make = unwrap(tls.create_client_proxy_context)  # cached
        context: SSL.Context = make(
            method=tls.Method.TLS_SERVER_METHOD,
            min_version=tls.Version.TLS1_2,
            max_version=tls.Version.UNBOUNDED,
            cipher_list=None,
            ecdh_curve=None,
            chain_file=self.store.default_chain_file,
            alpn_select_callback=None,
            request_client_cert=False,
            extra_chain_certs=(),
            dhparams=self.store.dhparams,
        )
        context.set_tlsext_servername_callback(
            lambda connection: self._use(connection, (connection.get_servername() or b"").decode())
        )
        return context

    def _use(self, connection: SSL.Connection, name: str) -> None:
        entry = self._entry(name or "127.0.0.1")
        connection.use_certificate(entry.cert.to_cryptography())
        connection.use_privatekey(entry.privatekey)

    def _entry(self, name: str) -> certs.CertStoreEntry:
        sans: list[x509.GeneralName] = [_ip_or_dns_name(name)]
        # OpenSSL takes a common name without a DNS name beside it for one: addresses have none
        common = None if isinstance(sans[0], x509.IPAddress) else name
        return self.store.get_cert(common, sans)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> CertificateAuthority:
    made, _ = CertificateAuthority.ensure(tmp_path_factory.mktemp("home") / "ca", GOVERNED)
    return made


@pytest.fixture(scope="session")
def root_file(authority: CertificateAuthority, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "ca.pem"
    path.write_text(authority.export_pem())
    return path


@pytest.fixture(scope="session")
def serve() -> Iterator[Callable[[CertificateAuthority], int]]:
    """Start a server with a CA; return its port."""
    servers: list[ThiefServer] = []

    def start(authority: CertificateAuthority) -> int:
        store = certs.CertStore.from_files(authority.file, authority.directory / DH_FILE)
        server = ThiefServer(store)
        servers.append(server)
        threading.Thread(target=server.serve, daemon=True).start()
        return server.port

    yield start
    for server in servers:
        with suppress(OSError):
            server.listener.shutdown(socket.SHUT_RDWR)
        server.listener.close()
