from datetime import timedelta
from pathlib import Path

import pytest

from llmtrace.storage.codec import encode_record
from llmtrace.storage.spool_deadletter import DeadLetters, DeadLettersFull
from llmtrace.testing.faults import FaultyIO
from llmtrace.testing.records import NOON, a_record, numbered_id


def bury(letters: DeadLetters, number: int, reason: str = "ValueError: odd") -> None:
    letters.bury(numbered_id(number), encode_record(a_record(number)), reason, NOON)


def test_what_was_buried_can_be_looked_at(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    bury(letters, 2)
    bury(letters, 1)
    first, second = letters
    assert (first.trace_id, second.trace_id) == (numbered_id(1), numbered_id(2))
    assert first.record() == a_record(1)
    assert (first.reason, first.buried_at) == ("ValueError: odd", NOON)
    assert first.size == len(encode_record(a_record(1)))
    letters.remove(first)
    assert [letter.trace_id for letter in letters] == [numbered_id(2)]
    assert letters.count() == 1


def test_the_same_one_again_replaces_itself(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    for _ in range(3):
        bury(letters, 1)
    assert letters.count() == 1


def test_files_are_for_the_owner_alone(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    bury(letters, 1)
    modes = {path.stat().st_mode & 0o777 for path in (tmp_path / "deadletter").iterdir()}
    assert modes == {0o600}
    assert (tmp_path / "deadletter").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize(("files", "size"), [(4, 10**6), (100, 2500)], ids=["files", "bytes"])
def test_it_is_bounded(tmp_path: Path, files: int, size: int) -> None:
    letters = DeadLetters(tmp_path, max_files=files, max_bytes=size)
    bury(letters, 1)
    bury(letters, 2)
    with pytest.raises(DeadLettersFull, match="refuses too much"):
        bury(letters, 3)
    bury(letters, 1)
    assert letters.count() == 2


def test_a_long_reason_is_cut(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    bury(letters, 1, reason="x" * 100_000)
    (letter,) = letters
    assert len(letter.reason) == 4096


def test_what_cannot_be_read_is_passed_over(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    assert list(letters) == []
    bury(letters, 1)
    bury(letters, 2)
    for path in (tmp_path / "deadletter").glob(f"{numbered_id(1)}*.json"):
        path.write_bytes(b"{")
    assert [letter.trace_id for letter in letters] == [numbered_id(2)]


def test_at_any_failure_there_is_no_half_letter(tmp_path: Path) -> None:
    for number in range(1, 40):
        letters = DeadLetters(tmp_path / str(number), io=(io := FaultyIO(fail_at=number)))
        try:
            bury(letters, 1)
        except OSError:
            io.fail_at = 0
            assert all(letter.record() == a_record(1) for letter in letters)
            bury(letters, 1)
        io.fail_at = 0
        assert [letter.record() for letter in letters] == [a_record(1)]
        if not io.failed:
            return
    pytest.fail("there was a failure at every number")


def test_age_is_that_of_the_burial(tmp_path: Path) -> None:
    letters = DeadLetters(tmp_path)
    letters.bury(numbered_id(1), b"", "", NOON - timedelta(days=1))
    (letter,) = letters
    assert letter.buried_at == NOON - timedelta(days=1)
    with pytest.raises(ValueError, match="not a trace"):
        letter.record()
