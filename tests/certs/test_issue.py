from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from llmtrace.certs.issue import (
    CaPolicy,
    certificate_pem,
    issue_intermediate,
    issue_root,
    key_pem,
    permitted_by,
)

NOW = datetime(2030, 1, 1, tzinfo=UTC)
POLICY = CaPolicy()
KEPT = CaPolicy(keep_root_key=True)


def test_a_root_that_cannot_sign_again_ends_with_its_intermediate() -> None:
    root = issue_root(policy=POLICY, now=NOW)
    assert root.certificate.not_valid_after_utc == NOW + timedelta(days=90)


def test_a_kept_root_lives_longer_and_bounds_its_intermediates() -> None:
    root = issue_root(policy=KEPT, now=NOW)
    assert root.certificate.not_valid_after_utc == NOW + timedelta(days=730)
    late = NOW + timedelta(days=700)
    last = issue_intermediate(root, ["example.com"], policy=KEPT, now=late)
    assert last.certificate.not_valid_after_utc == root.certificate.not_valid_after_utc


def test_the_intermediate_is_for_tls_servers_of_the_named_hosts() -> None:
    root = issue_root(policy=POLICY, now=NOW)
    signer = issue_intermediate(root, ["b.com", "a.com"], policy=POLICY, now=NOW)
    assert permitted_by(signer.certificate) == ("a.com", "b.com")
    usage = signer.certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.SERVER_AUTH]
    signer.certificate.verify_directly_issued_by(root.certificate)


def test_addresses_are_excluded_unless_some_are_permitted() -> None:
    root = issue_root(policy=POLICY, now=NOW)
    for names, excluded in ((["a.com"], 2), (["10.0.0.1", "2001:db8::1", "a.com"], 0)):
        signer = issue_intermediate(root, names, policy=POLICY, now=NOW)
        found = signer.certificate.extensions.get_extension_for_class(x509.NameConstraints)
        assert len(found.value.excluded_subtrees or []) == excluded
        assert permitted_by(signer.certificate) == tuple(names)


def test_an_unconstrained_certificate_is_not_taken_for_ours() -> None:
    root = issue_root(policy=POLICY, now=NOW)
    with pytest.raises(ValueError, match="no name constraints"):
        permitted_by(root.certificate)


@pytest.mark.parametrize(("intermediate", "root"), [(0, 10), (91, 90), (90, 4000)])
def test_a_policy_that_makes_no_sense_is_refused(intermediate: int, root: int) -> None:
    with pytest.raises(ValueError, match="intermediate_days"):
        CaPolicy(intermediate_days=intermediate, root_days=root)


def test_pem_says_what_it_holds() -> None:
    root = issue_root(policy=POLICY, now=NOW)
    assert key_pem(root.key).startswith(b"-----BEGIN PRIVATE KEY-----")
    assert certificate_pem(root.certificate).startswith(b"-----BEGIN CERTIFICATE-----")
