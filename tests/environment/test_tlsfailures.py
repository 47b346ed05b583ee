import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from llmtrace.environment.tlsfailures import (
    MAX_SHOWN,
    MAX_TLS_FAILURES,
    TlsFailures,
    read_failures,
)

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


def write(path: Path, rows: object) -> Path:
    path.write_text(json.dumps(rows))
    return path


def test_failures_are_read_latest_first(tmp_path: Path) -> None:
    rows = {
        "a.com": {"error": "unknown ca", "count": 3, "last_seen": NOON.isoformat()},
        "b.com": {"error": "eof", "count": 1, "last_seen": NOON.timestamp() + 60},
        "c.com": {"error": "eof", "count": 1, "last_seen": "2030-01-01T11:00:00"},
    }
    found = read_failures(write(tmp_path / "f.json", rows))
    assert [f.host for f in found] == ["b.com", "a.com", "c.com"]
    assert found[1].count == 3
    later = read_failures(tmp_path / "f.json", since=NOON + timedelta(seconds=1))
    assert [f.host for f in later] == ["b.com"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        "text",
        {"a": 1},
        {"a": {}},
        {"a": {"last_seen": "yesterday"}},
        {"a": {"last_seen": 1e300}},
    ],
)
def test_what_is_no_failure_is_left_out(rows: object, tmp_path: Path) -> None:
    assert read_failures(write(tmp_path / "f.json", rows)) == ()


def test_a_missing_or_broken_file_has_none(tmp_path: Path) -> None:
    assert read_failures(tmp_path / "none.json") == ()
    (tmp_path / "f.json").write_bytes(b"{\xff")
    assert read_failures(tmp_path / "f.json") == ()


def test_what_a_peer_sent_is_cut(tmp_path: Path) -> None:
    rows = {"x" * 5000: {"error": "y" * 5000, "count": 1, "last_seen": NOON.isoformat()}}
    [found] = read_failures(write(tmp_path / "f.json", rows))
    assert len(found.host) == len(found.error) == MAX_SHOWN


def test_failed_handshakes_are_noted_for_doctor_within_bounds(tmp_path: Path) -> None:
    path = tmp_path / "tls_failures.json"
    failures = TlsFailures(path)
    for number in range(MAX_TLS_FAILURES + 5):
        failures.note(f"host-{number}.example", "unknown ca")
    failures.note("host-0.example", "unknown ca")
    assert len(json.loads(path.read_text())) == MAX_TLS_FAILURES
    (first,) = [f for f in read_failures(path) if f.host == "host-0.example"]
    assert (first.count, first.error) == (2, "unknown ca")
