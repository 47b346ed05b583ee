import asyncio
import ssl
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from mitmproxy import tls
from mitmproxy.test import taddons
from OpenSSL import SSL

from llmtrace.addons.tls import (
    CA_FILE,
    MOST_CONTEXTS,
    SESSION_LIFETIME,
    GatewayTls,
    Issuer,
    LeafContexts,
    Sessions,
    Spoken,
    _protocol,
    mint,
)
from llmtrace.certs.authority import CertificateAuthority
from llmtrace.testing.dataplane import PROVIDER, H2Client, Upstream, answer_ok, read_answer
from llmtrace.testing.tls import ThrowawayCa

CALL = f"GET /v1/x HTTP/1.1\r\nHost: {PROVIDER}\r\n\r\n".encode()


@pytest.fixture(scope="module")
def issuer(ca: CertificateAuthority) -> Issuer:
    return Issuer.load(ca.directory / CA_FILE)


def test_leaf_is_for_one_name_short_lived_and_within_its_issuer(issuer: Issuer) -> None:
    leaf = mint(issuer, PROVIDER, ec.generate_private_key(ec.SECP256R1()).public_key())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.DNSName) == [PROVIDER]
    assert leaf.not_valid_after_utc - datetime.now(UTC) <= timedelta(days=7)
    assert leaf.not_valid_before_utc >= issuer.cert.not_valid_before_utc
    assert not leaf.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    leaf.verify_directly_issued_by(issuer.cert)


def test_leaf_of_an_address_names_the_address(issuer: Issuer) -> None:
    leaf = mint(issuer, "127.0.0.1", ec.generate_private_key(ec.SECP256R1()).public_key())
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(ip) for ip in names.get_values_for_type(x509.IPAddress)] == ["127.0.0.1"]


def test_contexts_are_kept_and_bounded(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrace.addons.tls.MOST_CONTEXTS", 2)
    leaves = LeafContexts(issuer)
    first = leaves.get("a.openai.com")
    assert leaves.get("a.openai.com") is first
    leaves.get("b.openai.com")
    leaves.get("a.openai.com")
    leaves.get("c.openai.com")
    assert len(leaves) == 2
    assert leaves.get("a.openai.com") is first
    assert MOST_CONTEXTS > 100


def test_context_is_made_anew_before_its_leaf_ends(
    issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("llmtrace.addons.tls.LEAF_LIFETIME", timedelta(hours=1))
    leaves = LeafContexts(issuer)
    assert leaves.get(PROVIDER) is not leaves.get(PROVIDER)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "expected a PEM key", id="empty"),
        pytest.param(b"-----BEGIN PRIVATE KEY-----\n!\n", "expected a PEM key", id="cut-short"),
        pytest.param(None, "neither EC nor RSA", id="odd-key"),
    ],
)
def test_unusable_ca_file_is_told(
    tmp_path: Path, ca: CertificateAuthority, content: bytes | None, message: str
) -> None:
    if content is None:
        key = ed25519.Ed25519PrivateKey.generate()
        content = key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        content += ca.root.public_bytes(serialization.Encoding.PEM)
    (tmp_path / CA_FILE).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        Issuer.load(tmp_path / CA_FILE)


def test_upstream_ca_that_is_no_pem_is_told(tmp_path: Path, ca: CertificateAuthority) -> None:
    (tmp_path / "bad.pem").write_text("nothing")
    with pytest.raises(ValueError, match="correct upstream_ca"):
        GatewayTls(ca_dir=ca.directory, may_mint=lambda _: True, upstream_ca=[tmp_path / "bad.pem"])


@pytest.mark.parametrize("alpn", ["http/1.1", "h2"])
async def test_client_that_trusts_the_ca_verifies_the_leaf(
    gateway: Any, upstream: Any, alpn: str
) -> None:
    gw = await gateway(to=await upstream(tls=True))
    reader, writer = await gw.tls(alpn)
    chosen = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    assert chosen == alpn
    if alpn == "h2":
        client = H2Client((reader, writer))
        assert await client.answer(client.request()) == (200, b"ok")
    else:
        writer.write(CALL)
        assert (await read_answer(reader)).endswith(b"ok")


async def test_openssl_accepts_the_chain_in_its_strictest_mode(gateway: Any, upstream: Any) -> None:
    gw = await gateway(to=await upstream(tls=True))
    command = ["openssl", "s_client", "-proxy", f"127.0.0.1:{gw.port}"]
    command += ["-connect", f"{PROVIDER}:443", "-servername", PROVIDER]
    command += ["-CAfile", str(gw.ca_pem), "-verify_return_error", "-x509_strict"]
    command += ["-verify_hostname", PROVIDER]
    done = await asyncio.to_thread(
        subprocess.run, command, input=b"", capture_output=True, timeout=10, check=False
    )
    assert b"Verify return code: 0 (ok)" in done.stdout


async def test_name_that_may_not_be_minted_fails_the_handshake(gateway: Any) -> None:
    gw = await gateway(may_mint=lambda _name: False)
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await gw.tls()
    assert gw.counts["mint_refused"] == 1


async def test_client_that_does_not_trust_the_ca_is_reported(gateway: Any) -> None:
    failed: asyncio.Future[tuple[str, str]] = asyncio.get_running_loop().create_future()
    gw = await gateway()
    gw.master.addons.get("tlsconfig")._client_failed = lambda *said: failed.set_result(said)
    _, (_, writer) = await gw.tunnel()
    with pytest.raises(ssl.SSLError):
        await writer.start_tls(ssl.create_default_context(), server_hostname=PROVIDER)
    sni, error = await asyncio.wait_for(failed, 2)
    assert sni == PROVIDER
    assert "trust" in error
    assert gw.counts["tls_client_failed"] == 1


async def test_provider_whose_certificate_is_not_trusted_gets_no_request(
    gateway: Any, upstream: Any, ca: CertificateAuthority
) -> None:
    provider = await upstream(tls=True)
    gw = await gateway(to=provider, provider_ca=ca.directory / CA_FILE)
    reader, writer = await gw.tls("http/1.1")
    writer.write(CALL)
    assert b" 502 " in (await read_answer(reader)).split(b"\r\n")[0]
    assert provider.requests == []


async def test_provider_certificate_for_another_name_is_refused(
    gateway: Any, upstream: Any
) -> None:
    class Misnamed:
        """Checks for one name while the server shows the certificate of another."""

        def tls_start_server(self, data: tls.TlsData) -> None:
            assert data.ssl_conn
            data.ssl_conn.set_tlsext_host_name(b"other.openai.com")

    provider = await upstream(tls=True)
    gw = await gateway(to=provider)
    gw.master.addons.add(Misnamed())
    reader, writer = await gw.tls("http/1.1")
    writer.write(CALL)
    answer = await read_answer(reader)
    assert b" 502 " in answer.split(b"\r\n")[0]
    assert provider.requests == []


def test_reload_keeps_the_old_ca_where_the_new_one_is_broken(
    tmp_path: Path, ca: CertificateAuthority
) -> None:
    path = tmp_path / CA_FILE
    path.write_bytes((ca.directory / CA_FILE).read_bytes())
    addon = GatewayTls(ca_dir=tmp_path, may_mint=lambda _: True)
    before = addon._leaves
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="expected a PEM key"):
        addon.reload()
    assert addon._leaves is before
    path.write_bytes((ca.directory / CA_FILE).read_bytes())
    addon.reload()
    assert addon._leaves is not before


async def test_another_addon_may_bring_its_own_context(ca: CertificateAuthority) -> None:
    addon = GatewayTls(ca_dir=ca.directory, may_mint=lambda _: True)
    with taddons.context(addon):
        data = tls.TlsData(conn=None, context=None, ssl_conn=object())  # type: ignore[arg-type]  # must not be looked at
        addon.tls_start_client(data)
        addon.tls_start_server(data)


@pytest.mark.parametrize(
    ("required", "server", "http2", "chosen"),
    [
        pytest.param(b"http/1.1", b"h2", True, b"http/1.1", id="a-tunnel-decides"),
        pytest.param(None, b"http/1.1", True, b"http/1.1", id="else-what-the-server-speaks"),
        pytest.param(None, b"", True, SSL.NO_OVERLAPPING_PROTOCOLS, id="a-server-without-alpn"),
        pytest.param(None, None, True, b"h2", id="else-the-client-s-first"),
        pytest.param(None, b"h3", True, b"h2", id="not-what-nobody-offers"),
        pytest.param(None, None, False, b"http/1.1", id="without-http2"),
    ],
)
def test_a_client_s_protocol_is_chosen_by_who_is_bound_to_one(
    required: bytes | None, server: bytes | None, http2: bool, chosen: object
) -> None:
    conn = SSL.Connection(SSL.Context(SSL.TLS_SERVER_METHOD))
    conn.set_app_data(Spoken(required=required, server=server, http2=http2))
    assert _protocol(conn, [b"spdy", b"h2", b"http/1.1"]) == chosen


def noting(reused: list[bool]) -> Any:
    """Return a provider's script that notes whether each connection went on with a session."""

    async def script(writer: asyncio.StreamWriter, head: bytes, body: bytes) -> None:
        reused.append(writer.get_extra_info("ssl_object").session_reused)
        await answer_ok(writer, head, body)

    return script


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_a_new_connection_goes_on_with_the_session_of_the_last(
    gateway: Any, provider_ca: ThrowawayCa, version: ssl.TLSVersion
) -> None:
    reused: list[bool] = []
    provider = Upstream(noting(reused))
    context = provider_ca.server_context(alpn=["http/1.1"])
    context.minimum_version = context.maximum_version = version
    await provider.start(context)
    gw = await gateway(to=provider)
    for host in (PROVIDER, PROVIDER, "api.anthropic.com"):
        reader, writer = await gw.tls("http/1.1", host=host)
        writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
        writer.close()
    await provider.stop()
    assert reused == [False, True, False]


async def test_a_certificate_is_looked_at_again_after_a_while(
    gateway: Any, provider_ca: ThrowawayCa
) -> None:
    reused: list[bool] = []
    provider = Upstream(noting(reused))
    await provider.start(provider_ca.server_context(alpn=["http/1.1"]))
    gw = await gateway(to=provider)
    now = [1000.0]
    gw.master.addons.get("tlsconfig")._sessions = Sessions(clock=lambda: now[0])
    for later in (0, 1, SESSION_LIFETIME - 2, 1, SESSION_LIFETIME - 1):
        now[0] += later
        reader, writer = await gw.tls("http/1.1")
        writer.write(CALL)
        assert (await read_answer(reader)).startswith(b"HTTP/1.1 200")
        writer.close()
    await provider.stop()
    assert reused == [False, True, True, False, True]


async def test_a_handshake_that_failed_leaves_no_session(
    gateway: Any, upstream: Any, ca: CertificateAuthority
) -> None:
    provider = await upstream(tls=True)
    gw = await gateway(to=provider, provider_ca=ca.directory / CA_FILE)
    for _ in range(2):
        reader, writer = await gw.tls("http/1.1")
        writer.write(CALL)
        assert b" 502 " in (await read_answer(reader)).split(b"\r\n")[0]
    assert provider.requests == []
    assert len(gw.master.addons.get("tlsconfig")._sessions) == 0


def test_sessions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("llmtrace.addons.tls.MOST_SESSIONS", 2)
    sessions, context = Sessions(), SSL.Context(SSL.TLS_CLIENT_METHOD)
    for name in ("a", "b", "c"):
        sessions.established((("192.0.2.1", 443), name, ()), SSL.Connection(context))
    assert len(sessions) == 2
