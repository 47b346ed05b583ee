import contextlib
import ssl

import pytest
from cryptography import x509

from llmtrace.testing.tls import SNI_ATTRIBUTE, ThrowawayCa


@pytest.fixture(scope="module")
def ca() -> ThrowawayCa:
    return ThrowawayCa()


def handshake(ca: ThrowawayCa, name: str, *, trusted: ThrowawayCa) -> ssl.SSLObject:
    """Shake hands in memory; return the server's side."""
    client_in, client_out, server_in, server_out = (ssl.MemoryBIO() for _ in range(4))
    trust = ssl.create_default_context(cadata=trusted.pem.decode())
    client = trust.wrap_bio(client_in, client_out, server_hostname=name)
    server = ca.server_context().wrap_bio(server_in, server_out, server_side=True)
    for _ in range(4):
        for side, out, into in (
            (client, client_out, server_in),
            (server, server_out, client_in),
        ):
            with contextlib.suppress(ssl.SSLWantReadError):
                side.do_handshake()
            into.write(out.read())
    return server


@pytest.mark.parametrize("name", ["api.openai.com", "localhost", "127.0.0.1"])
def test_any_name_is_vouched_for(ca: ThrowawayCa, name: str) -> None:
    server = handshake(ca, name, trusted=ca)
    assert vars(server)[SNI_ATTRIBUTE] == ("" if name == "127.0.0.1" else name)


def test_another_ca_is_not_trusted(ca: ThrowawayCa) -> None:
    with pytest.raises(ssl.SSLCertVerificationError):
        handshake(ca, "api.openai.com", trusted=ThrowawayCa())


def test_the_root_can_sign_leaves_only(ca: ThrowawayCa) -> None:
    root = x509.load_pem_x509_certificate(ca.pem)
    constraints = root.extensions.get_extension_for_class(x509.BasicConstraints).value
    assert (constraints.ca, constraints.path_length) == (True, 0)
