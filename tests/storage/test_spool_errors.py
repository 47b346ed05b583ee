import pytest

from llmtrace.storage.base import (
    SchemaMismatch,
    StorageCorrupt,
    StorageError,
    StorageUnavailable,
    TraceNotFound,
)
from llmtrace.storage.spool_errors import describe, is_permanent


@pytest.mark.parametrize(
    ("error", "permanent"),
    [
        pytest.param(ValueError(), True, id="bad-value"),
        pytest.param(TypeError(), True, id="bad-type"),
        pytest.param(OverflowError(), True, id="too-large"),
        pytest.param(UnicodeEncodeError("utf-8", "\ud800", 0, 1, ""), True, id="no-utf-8"),
        pytest.param(TraceNotFound(), True, id="not-there"),
        pytest.param(StorageError("the statement failed"), True, id="constraint"),
        pytest.param(StorageUnavailable(), False, id="locked"),
        pytest.param(StorageCorrupt(), False, id="damaged"),
        pytest.param(SchemaMismatch(), False, id="another-version"),
        pytest.param(ConnectionError(), False, id="away"),
        pytest.param(TimeoutError(), False, id="slow"),
        pytest.param(RuntimeError(), False, id="unknown"),
    ],
)
def test_only_what_is_about_the_record_is_permanent(error: Exception, permanent: bool) -> None:
    assert is_permanent(error) is permanent


def test_a_description_never_quotes_a_record() -> None:
    assert describe(ValueError("the prompt")) == "ValueError"
    assert describe(OSError("no space")) == "OSError: no space"
    assert describe(StorageUnavailable("x: it is locked")) == "StorageUnavailable: x: it is locked"
    assert len(describe(OSError("x" * 9999))) < 300
