import pytest

from llmtrace.pipeline.streaming import stops
from llmtrace.providers.openai_errors import stream_kind


@pytest.mark.parametrize("code", stops.MESSAGES)
def test_each_code_says_whose_doing_it_is(code: str) -> None:
    kind = "server_error" if code == stops.BROKEN_OFF else "policy_violation"
    assert stream_kind(code) == kind
    assert stops.MESSAGES[code]
