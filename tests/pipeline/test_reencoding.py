import base64

import orjson
import pytest

from llmtrace.domain.parts import Path
from llmtrace.pipeline.reencoding import as_written

type Edits = dict[Path, str]


def encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


def test_what_stands_in_base64_is_changed_in_base64() -> None:
    content = orjson.dumps({"a": encoded("my sesame"), "b": "my sesame"})
    edits: Edits = {("a",): "my \u00d7", ("b",): "my x"}
    texts: Edits = {("a",): "my sesame", ("b",): "my sesame"}
    assert as_written(content, edits, texts) == (
        {("a",): encoded("my \u00d7"), ("b",): "my x"},
        {("a",): encoded("my sesame"), ("b",): "my sesame"},
    )


@pytest.mark.parametrize("stands", [encoded("another"), "no base64!", 5, None])
def test_what_is_something_else_stays_as_it_was_read(stands: object) -> None:
    edits: Edits = {("a",): "x"}
    texts: Edits = {("a",): "sesame"}
    assert as_written(orjson.dumps({"a": stands}), edits, texts) == (edits, texts)


def test_a_body_that_cannot_be_read_is_left_alone() -> None:
    edits: Edits = {("a",): "x"}
    texts: Edits = {("a",): "sesame"}
    assert as_written(b'{"a": "\\ud800"}', edits, texts) == (edits, texts)
