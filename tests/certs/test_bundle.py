import os
import ssl
import stat
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.certs import bundle
from llmtrace.certs.authority import CertificateAuthority, utc_now
from llmtrace.certs.issue import CaPolicy, certificate_pem, issue_root


def root_pem() -> str:
    return certificate_pem(issue_root(policy=CaPolicy(), now=utc_now()).certificate).decode()


@pytest.fixture(scope="module")
def company() -> str:
    return root_pem()


def test_the_users_own_file_is_kept_and_ours_is_added(
    tmp_path: Path, authority: CertificateAuthority, company: str
) -> None:
    source = tmp_path / "company.pem"
    source.write_text(f"# a comment\r\n{company}")
    made = bundle.combine(tmp_path / "trust", authority.export_pem(), [source], prefix="bundle")
    assert made.certificates == 2
    assert bundle.contains(made.path, company)
    assert bundle.contains(made.path, authority.export_pem())
    assert stat.S_IMODE(made.path.stat().st_mode) == 0o644
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(made.path))
    assert len(context.get_ca_certs()) == 2


def test_the_bundle_follows_its_source(
    tmp_path: Path, authority: CertificateAuthority, company: str
) -> None:
    source = tmp_path / "company.pem"
    source.write_text(company)
    first = bundle.combine(tmp_path, authority.export_pem(), [source], prefix="bundle")
    before = first.path.stat().st_mtime_ns
    bundle.combine(tmp_path, authority.export_pem(), [source], prefix="bundle")
    assert first.path.stat().st_mtime_ns == before, "written though nothing had changed"
    source.write_text(company + root_pem())
    second = bundle.combine(tmp_path, authority.export_pem(), [source], prefix="bundle")
    assert second.path == first.path
    assert second.certificates == 3


def test_other_sources_have_another_file(
    tmp_path: Path, authority: CertificateAuthority, company: str
) -> None:
    paths = [tmp_path / "a.pem", tmp_path / "b.pem"]
    for path in paths:
        path.write_text(company)
    made = {
        bundle.combine(tmp_path, authority.export_pem(), [p], prefix="bundle").path for p in paths
    }
    assert len(made) == 2


def test_without_a_source_the_systems_roots_are_taken(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    made = bundle.combine(tmp_path, authority.export_pem(), [], prefix="bundle")
    assert made.certificates > 20
    assert made.notes == ()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(str(made.path))
    assert context.cert_store_stats()["x509"] == made.certificates


@pytest.mark.parametrize(
    ("content", "note"),
    [
        pytest.param(None, "No such file", id="missing"),
        pytest.param(b"hello", "no certificate", id="no-pem"),
        pytest.param(b"", "larger than", id="too-large"),
    ],
)
def test_a_source_that_is_of_no_use_is_noted_and_left_out(
    content: bytes | None,
    note: str,
    tmp_path: Path,
    authority: CertificateAuthority,
) -> None:
    source = tmp_path / "company.pem"
    if content is not None:
        source.write_bytes(content)
    if note == "larger than":
        os.truncate(source, bundle.MAX_SOURCE_BYTES + 1)
    made = bundle.combine(tmp_path / "trust", authority.export_pem(), [source], prefix="bundle")
    assert note in made.notes[0]
    assert str(source) not in made.sources
    assert bundle.contains(made.path, authority.export_pem())


def test_what_is_ours_is_known_as_ours(tmp_path: Path, authority: CertificateAuthority) -> None:
    path = bundle.write_ca(tmp_path / "trust", authority.export_pem())
    assert path.read_text() == authority.export_pem()
    assert bundle.is_ours(path, tmp_path / "trust")
    assert not bundle.is_ours(tmp_path / "other.pem", tmp_path / "trust")


def test_a_file_that_cannot_be_read_holds_nothing(
    tmp_path: Path, authority: CertificateAuthority
) -> None:
    assert not bundle.contains(tmp_path / "none.pem", authority.export_pem())


@settings(max_examples=50)
@given(st.binary(max_size=300))
def test_any_source_leaves_a_bundle_that_has_the_ca(
    tmp_path_factory: pytest.TempPathFactory, authority: CertificateAuthority, content: bytes
) -> None:
    directory = tmp_path_factory.mktemp("any")
    (directory / "source").write_bytes(content + b"\n" + root_pem().encode())
    made = bundle.combine(
        directory, authority.export_pem(), [directory / "source"], prefix="bundle"
    )
    assert bundle.contains(made.path, authority.export_pem())
