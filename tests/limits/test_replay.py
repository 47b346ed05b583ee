"""What went on without a ledger survives its worker, and is taken by one only."""

from datetime import UTC, datetime
from pathlib import Path

from llmtrace.limits.replay import ReplayFile, abandoned
from llmtrace.storage.ledger import Admission, Node, Settlement

NODES = (
    Node(key="day", unit="usd", limit=9, ends=datetime(2026, 11, 22, tzinfo=UTC)),
    Node(key="ever", unit="usd", limit=None, ends=None),
)


def admission(call: str) -> Admission:
    return Admission(id=call, tenant="t", amounts={"usd": 4}, nodes=NODES, strict=False, owner="w")


def settlement(call: str) -> Settlement:
    return Settlement(id=call, tenant="t", kind="settle", amounts={"usd": 3})


def test_what_a_dead_worker_noted_is_read_without_limits_and_then_gone(tmp_path: Path) -> None:
    path = tmp_path / "w.unbooked"
    file = ReplayFile(path)
    assert file.admitted(admission("a"))
    assert file.admitted(admission("b"))
    file.settled(settlement("a"))
    file.close()
    with path.open("ab") as torn:
        torn.write(b'{"settled": {"id"')
    with abandoned(path) as found:
        assert found is not None
        admissions, settlements = found
    assert [one.id for one in admissions] == ["a", "b"]
    assert [(node.key, node.limit, node.ends) for node in admissions[0].nodes] == [
        (node.key, None, node.ends) for node in NODES
    ]
    assert (admissions[0].amounts, admissions[0].strict) == ({"usd": 4}, False)
    assert settlements == [settlement("a")]
    assert not path.exists()


def test_the_file_of_a_worker_that_lives_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "w.unbooked"
    file = ReplayFile(path)
    file.admitted(admission("a"))
    with abandoned(path) as found:
        assert found is None
    assert path.exists()
    file.close()


def test_a_file_is_empty_when_all_is_booked_and_gone_when_it_is_closed(tmp_path: Path) -> None:
    path = tmp_path / "w.unbooked"
    file = ReplayFile(path)
    file.admitted(admission("a"))
    file.admitted(admission("b"))
    file.booked("a")
    assert path.stat().st_size > 0
    file.booked("b")
    assert path.stat().st_size == 0
    file.close()
    assert not path.exists()


def test_a_full_file_lets_no_more_calls_through(tmp_path: Path) -> None:
    file = ReplayFile(tmp_path / "w.unbooked", most_bytes=100)
    assert file.admitted(admission("a"))
    assert not file.admitted(admission("b"))
    file.close()


def test_a_file_that_cannot_be_made_lets_no_call_through(tmp_path: Path) -> None:
    assert not ReplayFile(tmp_path / "nowhere" / "w.unbooked").admitted(admission("a"))
