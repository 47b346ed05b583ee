import uuid

from llmtrace.domain.ids import new_trace_id


def test_ids_are_canonical_uuids_of_version_7_that_sort_by_time() -> None:
    ids = [new_trace_id() for _ in range(1000)]
    assert ids == sorted(ids)
    assert len(set(ids)) == len(ids)
    assert {uuid.UUID(text).version for text in ids} == {7}
    assert all(str(uuid.UUID(text)) == text for text in ids)
