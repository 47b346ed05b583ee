import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtrace.certs.stores import System
from llmtrace.config import Config
from llmtrace.config.models import InterceptConfig
from llmtrace.environment.checks import Check, Status
from llmtrace.environment.home import Home
from llmtrace.environment.installation import Installation
from llmtrace.environment.trustchecks import check_ca, check_failures, check_trust


@pytest.fixture
def place(tmp_path: Path) -> Installation:
    return Installation(config=Config(), home=Home(tmp_path / "home"))


def by_name(checks: Sequence[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def now() -> datetime:
    return datetime.now(UTC)


def test_no_ca_is_a_warning_and_a_new_one_is_well(place: Installation) -> None:
    assert [check.status for check in check_ca(place, now())] == [Status.WARN]
    place.open_ca()
    assert {check.status for check in check_ca(place, now())} == {Status.OK}


@pytest.mark.parametrize(
    ("days", "status"),
    [(0, Status.OK), (80, Status.WARN), (91, Status.FAIL), (-5, Status.FAIL)],
)
def test_its_time_is_looked_at(days: int, status: Status, place: Installation) -> None:
    place.open_ca()
    checks = by_name(list(check_ca(place, now() + timedelta(days=days))))
    assert checks["time"].status is status


def test_a_mode_that_was_too_wide_is_said_once(place: Installation) -> None:
    place.open_ca()[0].file.chmod(0o644)
    assert by_name(list(check_ca(place, now())))["mode"].status is Status.WARN
    assert "mode" not in by_name(list(check_ca(place, now())))


def test_domains_that_do_not_fit_the_configuration_are_named(place: Installation) -> None:
    place.open_ca()
    more = Config(intercept=InterceptConfig(hosts={"llm.example.com": "openai"}))
    other = Installation(config=more, home=place.home)
    missing = by_name(list(check_ca(other, now())))["domains"]
    assert missing.status is Status.FAIL
    assert "llm.example.com" in missing.detail
    other.rotate_ca()
    extra = by_name(list(check_ca(place, now())))["domains"]
    assert extra.status is Status.WARN


def test_the_bundle_and_the_stores_are_looked_at(place: Installation, tmp_path: Path) -> None:
    store = tmp_path / "root/usr/local/share/ca-certificates"
    store.mkdir(parents=True)
    system = System(
        platform="linux",
        root=tmp_path / "root",
        user_home=tmp_path,
        which=lambda name: name if name == "update-ca-certificates" else None,
        is_administrator=True,
    )
    assert list(check_trust(place, {}, system, lambda _: 0)) == []
    authority, _ = place.open_ca()
    without = by_name(list(check_trust(place, {}, system, lambda _: 0)))
    assert without["bundle"].status is Status.OK
    assert "does not have the CA" in without[f"debian: {store}"].detail
    bundle = tmp_path / "root/etc/ssl/certs/ca-certificates.crt"
    bundle.parent.mkdir(parents=True)
    bundle.write_text(authority.export_pem())
    with_it = by_name(list(check_trust(place, {}, system, lambda _: 0)))
    assert with_it[f"debian: {store}"].detail == "trusts the CA"


def test_a_variable_that_names_no_roots_is_a_warning(place: Installation, tmp_path: Path) -> None:
    place.open_ca()
    system = System(
        platform="none", root=tmp_path, user_home=tmp_path, which=str, is_administrator=True
    )
    environ = {"SSL_CERT_FILE": str(tmp_path / "gone.pem")}
    [check] = check_trust(place, environ, system, lambda _: 0)
    assert check.status is Status.WARN
    assert "gone.pem" in check.detail


def test_handshakes_that_clients_broke_off_are_named(place: Installation) -> None:
    place.home.path.mkdir()
    assert [check.status for check in check_failures(place, now())] == [Status.OK]
    rows = {
        "api.openai.com": {"error": "unknown ca", "count": 4, "last_seen": now().isoformat()},
        "old.com": {"error": "x", "count": 1, "last_seen": "2020-01-01T00:00:00+00:00"},
    }
    place.home.tls_failures.write_text(json.dumps(rows))
    [check] = check_failures(place, now())
    assert check.status is Status.WARN
    assert "4 handshakes" in check.detail
    assert "llmtrace run" in check.fix
