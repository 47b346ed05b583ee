from collections.abc import Sequence
from pathlib import Path

import pytest

from llmtrace.certs import bundle
from llmtrace.certs.authority import CertificateAuthority
from llmtrace.environment.home import Home
from llmtrace.environment.trust import REPLACING, prepare_trust


@pytest.fixture
def company(tmp_path: Path) -> Path:
    made, _ = CertificateAuthority.ensure(tmp_path / "company", ["example.com"])
    path = tmp_path / "company.pem"
    path.write_text(made.export_pem())
    return path


def test_what_adds_gets_the_ca_alone_and_what_replaces_gets_roots_too(
    place: Home, authority: CertificateAuthority
) -> None:
    made = prepare_trust(place, authority.export_pem(), {})
    assert made.ca.read_text() == authority.export_pem()
    assert set(made.added.values()) == {made.ca}
    assert made.bundle.read_text().count("BEGIN CERTIFICATE") > 20
    assert made.java is None


@pytest.mark.parametrize("name", REPLACING)
def test_the_users_own_roots_are_the_start_of_the_bundle(
    name: str, place: Home, authority: CertificateAuthority, company: Path
) -> None:
    made = prepare_trust(place, authority.export_pem(), {name: str(company)})
    assert made.bundle.read_text().count("BEGIN CERTIFICATE") == 2
    assert bundle.contains(made.bundle, company.read_text())


def test_a_file_of_nodes_own_is_merged(
    place: Home, authority: CertificateAuthority, company: Path
) -> None:
    made = prepare_trust(place, authority.export_pem(), {"NODE_EXTRA_CA_CERTS": str(company)})
    assert made.added["DENO_CERT"] == made.ca
    assert bundle.contains(made.added["NODE_EXTRA_CA_CERTS"], company.read_text())
    assert bundle.contains(made.added["NODE_EXTRA_CA_CERTS"], authority.export_pem())


def test_a_run_within_a_run_keeps_the_users_roots(
    place: Home, authority: CertificateAuthority, company: Path
) -> None:
    pem = authority.export_pem()
    outer = prepare_trust(place, pem, {"SSL_CERT_FILE": str(company)})
    inner = prepare_trust(
        place, pem, {"SSL_CERT_FILE": str(outer.bundle), "NODE_EXTRA_CA_CERTS": str(outer.ca)}
    )
    assert inner.bundle == outer.bundle
    assert inner.added == outer.added


def test_after_a_rotation_the_files_have_the_new_ca(
    place: Home, authority: CertificateAuthority, tmp_path: Path
) -> None:
    other, _ = CertificateAuthority.ensure(tmp_path / "other", ["api.openai.com"])
    old = prepare_trust(place, authority.export_pem(), {})
    new = prepare_trust(place, other.export_pem(), {"SSL_CERT_FILE": str(old.bundle)})
    assert new.ca.read_text() == other.export_pem()
    assert bundle.contains(new.bundle, other.export_pem())
    assert not bundle.contains(new.bundle, authority.export_pem())


def keytool_at(tmp_path: Path) -> Path:
    (tmp_path / "jdk/lib/security").mkdir(parents=True)
    (tmp_path / "jdk/lib/security/cacerts").write_bytes(b"roots")
    return tmp_path / "jdk/bin/keytool"


def test_java_gets_a_truststore_of_its_own(
    place: Home, authority: CertificateAuthority, tmp_path: Path
) -> None:
    calls: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> int:
        calls.append(command)
        return 0

    made = prepare_trust(place, authority.export_pem(), {}, keytool=keytool_at(tmp_path), run=run)
    assert made.java
    assert made.java.path.read_bytes() == b"roots"
    assert calls[0][1] == "-importcert"
    options = f"-Djavax.net.ssl.trustStore={made.java.path}"
    again = prepare_trust(
        place,
        authority.export_pem(),
        {"JAVA_TOOL_OPTIONS": options},
        keytool=keytool_at(tmp_path / "second"),
        run=run,
    )
    assert again.java == made.java
    assert len(calls) == 1


def test_a_truststore_that_cannot_be_made_is_noted(
    place: Home, authority: CertificateAuthority, tmp_path: Path
) -> None:
    made = prepare_trust(
        place, authority.export_pem(), {}, keytool=keytool_at(tmp_path), run=lambda _: 1
    )
    assert made.java is None
    assert "Java will not trust" in made.notes[0]
    without = prepare_trust(place, authority.export_pem(), {}, keytool=tmp_path / "none/keytool")
    assert without.java is None
