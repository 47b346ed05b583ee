import itertools
from dataclasses import replace
from functools import reduce

import pytest

from llmtrace.domain.traces import Body, Outcome, Record, Texts
from llmtrace.storage.merge import by_id, merged, progress, require_aware
from llmtrace.testing.records import NOON, a_record, a_trace, life_of, whole_life_of


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))), ids=str)
def test_records_of_one_call_merge_in_any_order(order: tuple[int, ...]) -> None:
    life = life_of(1)
    assert reduce(merged, [life[at] for at in order]) == whole_life_of(1)


@pytest.mark.parametrize("outcome", [o for o in Outcome if progress(o) == 2])
def test_every_end_is_further_along_than_none(outcome: Outcome) -> None:
    assert progress(Outcome.PENDING) < progress(Outcome.INTERRUPTED) < progress(outcome)


def test_of_two_ends_the_new_one_stays_and_is_filled_up() -> None:
    old = replace(a_record(1), texts=Texts(prompt="old prompt", answer="old answer"))
    new = Record(trace=a_trace(1, status=201), answer=Body(content=b"new"), texts=Texts(answer="b"))
    assert merged(old, new) == Record(
        trace=new.trace,
        request=old.request,
        answer=new.answer,
        texts=Texts(prompt="old prompt", answer="b"),
    )


def test_a_batch_has_each_call_once_in_order() -> None:
    start, _, end = life_of(1)
    other = a_record(0)
    assert list(by_id([end, other, start]).values()) == [whole_life_of(1), other]


def test_a_time_without_zone_is_refused() -> None:
    require_aware(a_trace())
    with pytest.raises(ValueError, match="no time zone, expected UTC"):
        require_aware(a_trace(started_at=NOON.replace(tzinfo=None)))
