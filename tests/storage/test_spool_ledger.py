import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.storage.spool_files import LEDGER
from llmtrace.storage.spool_ledger import Ledger, Position, load_ledger, save_ledger
from llmtrace.testing.faults import FaultyIO

OLD = Ledger(position=Position(segment=1, offset=5))
NEW = Ledger(
    position=Position(segment=3, offset=99),
    open_calls={"0195f000-0000-7000-8000-000000000001": True},
    damaged=frozenset({2}),
)


def test_it_comes_back(tmp_path: Path) -> None:
    save_ledger(tmp_path, NEW)
    assert load_ledger(tmp_path) == NEW


def test_without_one_reading_begins_at_the_start(tmp_path: Path) -> None:
    assert load_ledger(tmp_path) == Ledger()


def test_positions_are_ordered_by_segment_first() -> None:
    assert Position(segment=1, offset=9) < Position(segment=2, offset=0)


def test_at_any_failure_it_is_the_old_one_or_the_new_one(tmp_path: Path) -> None:
    for number in range(1, 30):
        save_ledger(tmp_path, OLD)
        io = FaultyIO(fail_at=number)
        try:
            save_ledger(tmp_path, NEW, io)
        except OSError:
            assert load_ledger(tmp_path) in (OLD, NEW)
        if not io.failed:
            assert load_ledger(tmp_path) == NEW
            return
    pytest.fail("there was a failure at every number")


@settings(max_examples=200, deadline=None)
@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["version", "segment", "offset", "open", "damaged"]), inner
            )
        ),
    ).map(lambda value: json.dumps(value).encode())
)
def test_whatever_is_in_the_file_a_ledger_comes_of_it(
    tmp_path_factory: pytest.TempPathFactory, data: bytes
) -> None:
    directory = tmp_path_factory.getbasetemp()
    (directory / LEDGER).write_bytes(data)
    ledger = load_ledger(directory)
    assert ledger.position >= Position()
