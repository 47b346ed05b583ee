import os
import shutil
import socket
import ssl
import stat
import subprocess
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from llmtrace.certs import files
from llmtrace.certs.authority import (
    CA_FILE,
    ROOT_KEY_FILE,
    CaMissing,
    CaUnusable,
    CertificateAuthority,
    Made,
)
from llmtrace.certs.issue import CaPolicy
from llmtrace.certs.names import MintRefused

GOVERNED = ("api.openai.com", "anthropic.com", "openai.azure.com")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


# What clients do with it


def ask_python(port: int, host: str, root: Path) -> tuple[bool, str]:
    context = ssl.create_default_context(cafile=str(root))
    context.verify_flags |= ssl.VerifyFlags.VERIFY_X509_STRICT
    with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
        try:
            with context.wrap_socket(plain, server_hostname=host) as secure:
                return True, str(secure.version())
        except ssl.SSLError as error:
            return False, str(error)


def run(*command: str, **env: str) -> tuple[bool, str]:
    done = subprocess.run(  # noqa: S603  the clients named in this file
        command,
        env={"PATH": os.environ["PATH"], **env},
        input="",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode == 0, done.stdout + done.stderr


def ask_openssl(port: int, host: str, root: Path) -> tuple[bool, str]:
    address = host.replace(".", "").isdigit()
    named = (
        ("-noservername", "-verify_ip") if address else ("-servername", host, "-verify_hostname")
    )
    trust = ("-verify_return_error", "-CAfile", str(root), "-no-CApath", "-no-CAstore")
    return run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", *trust, *named, host)


def ask_curl(port: int, host: str, root: Path) -> tuple[bool, str]:
    resolve = f"{host}:{port}:127.0.0.1"
    return run(
        "curl", "-sS", "--cacert", str(root), "--resolve", resolve, f"https://{host}:{port}/"
    )


NODE = """
const [port, host] = process.argv.slice(1);
const name = require("net").isIP(host) ? {host} : {servername: host, host: "127.0.0.1"};
const s = require("tls").connect({port, ...name}, () => s.end());
s.on("error", e => { console.error(e.code, e.message); process.exit(1); });
"""


def ask_node(port: int, host: str, root: Path) -> tuple[bool, str]:
    return run("node", "-e", NODE, str(port), host, NODE_EXTRA_CA_CERTS=str(root))


CLIENTS = {"openssl": ask_openssl, "curl": ask_curl, "node": ask_node}
INSTALLED = {"python": ask_python, **{k: v for k, v in CLIENTS.items() if shutil.which(k)}}


@pytest.mark.parametrize("client", INSTALLED)
def test_a_client_accepts_governed_hosts_and_no_other(
    client: str,
    serve: Callable[[CertificateAuthority], int],
    authority: CertificateAuthority,
    root_file: Path,
) -> None:
    port, ask = serve(authority), INSTALLED[client]
    for host in ("api.openai.com", "anthropic.com", "api.anthropic.com", "x.y.openai.azure.com"):
        accepted, said = ask(port, host, root_file)
        assert accepted, f"{host}: {said}"
    for host in ("example.com", "openai.com", "notanthropic.com", "127.0.0.1"):
        accepted, said = ask(port, host, root_file)
        assert not accepted, host
        assert "subtree violation" in said or client in {"curl", "node"}, said


@pytest.mark.parametrize("client", INSTALLED)
def test_a_client_accepts_an_address_that_is_governed_and_no_other(
    client: str, serve: Callable[[CertificateAuthority], int], tmp_path: Path
) -> None:
    made, _ = CertificateAuthority.ensure(tmp_path / "ca", ["127.0.0.1", "api.openai.com"])
    other, _ = CertificateAuthority.ensure(tmp_path / "other", ["127.0.0.2", "api.openai.com"])
    for authority, expected in ((made, True), (other, False)):
        root = tmp_path / "root.pem"
        root.write_text(authority.export_pem())
        accepted, said = INSTALLED[client](serve(authority), "127.0.0.1", root)
        assert accepted == expected, said


# What is made


def test_the_pair_is_a_root_and_a_constrained_intermediate(authority: CertificateAuthority) -> None:
    constraint = authority.intermediate.extensions.get_extension_for_class(x509.NameConstraints)
    assert constraint.critical
    assert authority.permitted == tuple(sorted(GOVERNED))
    length = [
        c.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length
        for c in (authority.root, authority.intermediate)
    ]
    assert length == [1, 0]
    assert isinstance(authority.intermediate.public_key(), ec.EllipticCurvePublicKey)


def test_files_are_private_and_hold_one_key(tmp_path: Path) -> None:
    made, _ = CertificateAuthority.ensure(tmp_path / "ca", GOVERNED)
    assert mode(made.directory) == 0o700
    assert {mode(f) for f in made.directory.iterdir()} == {0o600}
    assert sorted(f.name for f in made.directory.iterdir()) == [
        ".lock",
        "mitmproxy-ca.pem",
        "mitmproxy-dhparam.pem",
    ]
    key = serialization.load_pem_private_key(made.file.read_bytes(), None)
    assert key.public_key() == made.intermediate.public_key() != made.root.public_key()


def test_nothing_public_has_the_key(authority: CertificateAuthority) -> None:
    secret = authority.file.read_text().split("-----")[2].strip()
    assert secret not in authority.export_pem()
    assert secret not in repr(authority)
    assert "PRIVATE" not in authority.export_pem()


def test_its_time_is_short_and_forgives_a_clock_that_is_behind(tmp_path: Path) -> None:
    made, _ = CertificateAuthority.ensure(tmp_path, GOVERNED, now=lambda: NOW)
    assert made.expires_at == NOW + timedelta(days=90)
    assert made.starts_at == NOW - timedelta(days=2)


def test_each_installation_has_a_name_of_its_own(tmp_path: Path) -> None:
    a, _ = CertificateAuthority.ensure(tmp_path / "a", GOVERNED)
    b, _ = CertificateAuthority.ensure(tmp_path / "b", GOVERNED)
    assert a.name != b.name
    assert a.fingerprint != b.fingerprint


# Its life


def test_the_second_call_finds_what_the_first_made(tmp_path: Path) -> None:
    first, made = CertificateAuthority.ensure(tmp_path, GOVERNED)
    second, found = CertificateAuthority.ensure(tmp_path, GOVERNED)
    assert (made, found) == (Made.CREATED, Made.FOUND)
    assert first.root == second.root


def test_an_expired_pair_is_renewed_and_a_valid_one_is_not(tmp_path: Path) -> None:
    first, _ = CertificateAuthority.ensure(tmp_path, GOVERNED, now=lambda: NOW)
    last_moment = NOW + timedelta(days=90) - timedelta(seconds=1)
    kept, found = CertificateAuthority.ensure(tmp_path, GOVERNED, now=lambda: last_moment)
    renewed, made = CertificateAuthority.ensure(
        tmp_path, GOVERNED, now=lambda: NOW + timedelta(days=90)
    )
    assert (found, made) == (Made.FOUND, Made.RENEWED)
    assert first.root == kept.root != renewed.root


def test_rotation_replaces_both_certificates(tmp_path: Path) -> None:
    first, _ = CertificateAuthority.ensure(tmp_path, GOVERNED)
    second = CertificateAuthority.rotate(tmp_path, [*GOVERNED, "llm.example.com"])
    assert second.root != first.root
    assert second.intermediate.public_key() != first.intermediate.public_key()
    assert "llm.example.com" in second.permitted


def test_a_kept_root_signs_the_next_intermediate(tmp_path: Path) -> None:
    policy = CaPolicy(keep_root_key=True)
    first, _ = CertificateAuthority.ensure(tmp_path, GOVERNED, policy=policy)
    assert mode(tmp_path / ROOT_KEY_FILE) == 0o600
    second = CertificateAuthority.rotate(tmp_path, ["mistral.ai"], policy=policy)
    assert second.root == first.root
    assert second.intermediate != first.intermediate
    assert second.permitted == ("mistral.ai",)


def test_a_kept_root_near_its_end_is_replaced(tmp_path: Path) -> None:
    policy = CaPolicy(keep_root_key=True)
    first, _ = CertificateAuthority.ensure(tmp_path, GOVERNED, policy=policy, now=lambda: NOW)
    later = NOW + timedelta(days=701)
    second = CertificateAuthority.rotate(tmp_path, GOVERNED, policy=policy, now=lambda: later)
    assert second.root != first.root
    assert second.expires_at == later + timedelta(days=90)


def test_a_root_key_is_gone_once_it_is_not_to_be_kept(tmp_path: Path) -> None:
    CertificateAuthority.ensure(tmp_path, GOVERNED, policy=CaPolicy(keep_root_key=True))
    CertificateAuthority.rotate(tmp_path, GOVERNED)
    assert not (tmp_path / ROOT_KEY_FILE).exists()


def test_a_host_that_configuration_adds_is_noticed_and_left_to_the_user(tmp_path: Path) -> None:
    first, _ = CertificateAuthority.ensure(tmp_path, GOVERNED)
    wanted = ["api.openai.com", "anthropic.com", "api.mistral.ai"]
    second, made = CertificateAuthority.ensure(tmp_path, wanted)
    assert made is Made.FOUND
    assert first.matches(GOVERNED)
    assert not second.matches(wanted)
    assert second.difference(wanted).missing == ("api.mistral.ai",)
    assert second.difference(wanted).extra == ("openai.azure.com",)


def test_the_guard_needs_both_constraint_and_configuration(authority: CertificateAuthority) -> None:
    guard = authority.guard(lambda host: host != "anthropic.com")
    guard.check(["api.openai.com", "x.anthropic.com"])
    for refused in (["anthropic.com"], ["example.com"], ["api.openai.com", "127.0.0.1"], []):
        with pytest.raises(MintRefused, match="no certificate for"):
            guard.check(refused)


# What can go wrong


def ensure_in_process(directory: Path) -> str:
    made, _ = CertificateAuthority.ensure(directory, GOVERNED)
    return made.fingerprint


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_processes_that_start_at_once_agree_on_one_pair(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4) as pool:
        fingerprints = list(pool.map(ensure_in_process, [tmp_path / "home" / "ca"] * 8))
    assert len(set(fingerprints)) == 1


@pytest.mark.parametrize("survives", range(4))
def test_a_creation_that_breaks_off_is_made_good(
    survives: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Die before the n-th file is in place; whatever is left must not stand in the way."""
    written = 0
    real = files.write_atomic

    def dying(path: Path, content: bytes, *, mode: int = 0o600) -> None:
        nonlocal written
        if written == survives:
            (path.parent / f".{path.name}.x{files.TEMPORARY_SUFFIX}").write_bytes(content[:50])
            raise KeyboardInterrupt
        written += 1
        real(path, content, mode=mode)

    policy = CaPolicy(keep_root_key=True)
    monkeypatch.setattr(files, "write_atomic", dying)
    if survives < 3:
        with pytest.raises(KeyboardInterrupt):
            CertificateAuthority.ensure(tmp_path, GOVERNED, policy=policy)
    monkeypatch.setattr(files, "write_atomic", real)
    made, _ = CertificateAuthority.ensure(tmp_path, GOVERNED, policy=policy)
    assert made.permitted
    assert not list(tmp_path.glob(f".*{files.TEMPORARY_SUFFIX}"))


def test_modes_that_are_too_wide_are_taken_away_and_said(tmp_path: Path) -> None:
    made, _ = CertificateAuthority.ensure(tmp_path, GOVERNED)
    made.file.chmod(0o644)
    tmp_path.chmod(0o755)
    found = CertificateAuthority.load(tmp_path)
    assert (mode(tmp_path), mode(made.file)) == (0o700, 0o600)
    assert len(found.repairs) == 2
    assert "llmtrace ca rotate" in found.repairs[0]
    assert CertificateAuthority.load(tmp_path).repairs == ()


def test_a_file_of_another_user_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    CertificateAuthority.ensure(tmp_path, GOVERNED)
    os.chown(tmp_path / CA_FILE, 12345, -1) if os.geteuid() == 0 else monkeypatch.setattr(
        os, "geteuid", lambda: 54321
    )
    with pytest.raises(PermissionError, match="belongs to user"):
        CertificateAuthority.load(tmp_path)


def damage_cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def damage_other_key(content: bytes) -> bytes:
    key = ec.generate_private_key(ec.SECP256R1())
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return pem + content[content.index(b"-----BEGIN CERTIFICATE") :]


def damage_order(content: bytes) -> bytes:
    key, intermediate, root = content.split(b"-----BEGIN CERTIFICATE-----")
    return b"-----BEGIN CERTIFICATE-----".join([key, root, intermediate])


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda _: b"", id="empty"),
        pytest.param(lambda _: b"\0" * 100, id="zeros"),
        pytest.param(damage_cut, id="cut-short"),
        pytest.param(damage_other_key, id="key-of-another"),
        pytest.param(damage_order, id="wrong-order"),
        pytest.param(lambda c: c + c, id="doubled"),
        pytest.param(lambda c: c * 1000, id="huge"),
    ],
)
def test_a_damaged_file_is_a_clear_error_and_rotation_mends_it(
    damage: Callable[[bytes], bytes], tmp_path: Path
) -> None:
    made, _ = CertificateAuthority.ensure(tmp_path, GOVERNED)
    made.file.write_bytes(damage(made.file.read_bytes()))
    with pytest.raises(CaUnusable, match=r"mitmproxy-ca\.pem.*llmtrace ca rotate"):
        CertificateAuthority.ensure(tmp_path, GOVERNED)
    CertificateAuthority.rotate(tmp_path, GOVERNED)
    assert CertificateAuthority.load(tmp_path).permitted


def test_no_ca_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(CaMissing, match="no CA yet"):
        CertificateAuthority.load(tmp_path)
