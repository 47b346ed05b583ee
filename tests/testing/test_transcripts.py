import pytest

from llmtrace.domain.answers import ChannelKind
from llmtrace.testing.script import Script
from llmtrace.testing.transcripts import CASES, Case, frames_of, run, texts


@pytest.mark.parametrize("case", CASES.values(), ids=list(CASES))
def test_a_script_is_what_the_client_reads(case: Case) -> None:
    result = run(case, Script(text="All is well here."), cuts=[7, 100])
    assert texts(result.answer)[ChannelKind.TEXT] == "All is well here."
    assert b"".join(result.steps) == result.out


def test_what_is_no_stream_is_refused() -> None:
    with pytest.raises(ValueError, match="is no stream"):
        frames_of("openai.chat", b"", "image/png")
    with pytest.raises(ValueError, match="belong to no frame"):
        frames_of("openai.chat", b"data: cut", "text/event-stream")


def test_a_path_that_is_not_scripted_is_told() -> None:
    with pytest.raises(LookupError, match="is not scripted"):
        Case("openai.chat", "/nowhere", "/nowhere").answer(Script(), streamed=True)
