from datetime import timedelta

import pytest

from llmtrace.storage.base import Storage, TraceQuery
from llmtrace.storage.retention import PURGED, VACUUMED, purge_older_than
from llmtrace.testing.records import NOON, a_record, numbered_id

DAY = timedelta(days=1)


def test_what_is_older_goes_and_the_audit_log_knows(storage: Storage) -> None:
    storage.traces.put([a_record(1, started_at=NOON - 31 * DAY)])
    storage.traces.put([a_record(2, started_at=NOON - 30 * DAY)])
    assert purge_older_than(storage, 30, NOON) == 1
    assert [trace.trace_id for trace in storage.traces.query(TraceQuery())] == [numbered_id(2)]
    (event,) = storage.metadata.audit_events(event_type=PURGED)
    assert (event.timestamp, event.actor) == (NOON, "gateway")
    assert event.data == {"count": 1, "before": "2026-02-02T12:00:00+00:00"}


@pytest.mark.parametrize("days", [0, 30])
def test_nothing_to_do_is_no_event(storage: Storage, days: int) -> None:
    storage.traces.put([a_record(1, started_at=NOON - 30 * DAY)])
    assert purge_older_than(storage, days, NOON) == 0
    assert storage.metadata.audit_events() == []


def test_no_days_keep_everything(storage: Storage) -> None:
    storage.traces.put([a_record(1, started_at=NOON - 40_000 * DAY)])
    assert purge_older_than(storage, 0, NOON) == 0
    assert len(storage.traces.query(TraceQuery())) == 1


def test_space_is_given_back_once_a_day(storage: Storage) -> None:
    hour = timedelta(hours=1)
    for number in range(49):
        now = NOON + number * hour
        storage.traces.put([a_record(number, started_at=now - 2 * DAY)])
        assert purge_older_than(storage, 1, now) == 1
    times = [event.timestamp for event in storage.metadata.audit_events(event_type=VACUUMED)]
    assert times == [NOON + 2 * DAY, NOON + DAY, NOON]
