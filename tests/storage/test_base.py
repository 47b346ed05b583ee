import pytest

from llmtrace.domain.findings import Severity
from llmtrace.storage.base import (
    FindingQuery,
    SchemaMismatch,
    StorageCorrupt,
    StorageError,
    StorageUnavailable,
    TenantNotFound,
    TraceNotFound,
    TraceQuery,
)


def test_a_query_without_words_is_about_everything() -> None:
    query = TraceQuery()
    wanted = {name for name in TraceQuery.__dataclass_fields__ if getattr(query, name) is not None}
    assert wanted == {"limit"}


@pytest.mark.parametrize("kind", [StorageUnavailable, StorageCorrupt, SchemaMismatch])
def test_whoever_cannot_tell_failures_apart_catches_one(kind: type[Exception]) -> None:
    assert issubclass(kind, StorageError)


@pytest.mark.parametrize("kind", [TraceNotFound, TenantNotFound])
def test_what_is_not_there_is_no_failure_of_the_store(kind: type[Exception]) -> None:
    assert issubclass(kind, LookupError)
    assert not issubclass(kind, StorageError)


def test_a_severity_means_itself_and_what_is_worse() -> None:
    assert FindingQuery(severity=Severity.HIGH).severities == (Severity.CRITICAL, Severity.HIGH)
    assert FindingQuery().severities == tuple(Severity)
