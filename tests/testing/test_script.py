import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.testing.script import DEFAULT_TEXT, USAGE_LIES, Script, ScriptedTool, cut, directive


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(
            "@script: chunks=2 delay_ms=0.5", Script(chunks=2, delay_ms=0.5), id="numbers"
        ),
        pytest.param('Hi. @script: text="two words" and', Script(text="two words"), id="prompt"),
        pytest.param("@script: hold=true status=529", Script(hold=True, status=529), id="flag"),
        pytest.param(
            '@script: tool_call=Bash {"command": "ls -la"} chunks=2',
            Script(
                tool_calls=(ScriptedTool(name="Bash", arguments='{"command": "ls -la"}'),), chunks=2
            ),
            id="tool",
        ),
        pytest.param(
            '@script: tool_call=exec "text(1)"',
            Script(tool_calls=(ScriptedTool(name="exec", arguments="text(1)"),)),
            id="tool-with-a-plain-text",
        ),
        pytest.param(
            "@script: tool_call=one tool_call=two",
            Script(tool_calls=(ScriptedTool(name="one"), ScriptedTool(name="two"))),
            id="two-tools",
        ),
        pytest.param(
            r'"@script: tool_call=bash {\"command\": \"ls\"}"',
            Script(tool_calls=(ScriptedTool(name="bash", arguments='{"command": "ls"}'),)),
            id="quoted-by-a-client",
        ),
        pytest.param("@script: chunks=3 @script: chunks=4", Script(chunks=4), id="last-one-counts"),
        pytest.param("@script: chunks=many status=500", Script(), id="unreadable-value-ends-it"),
        pytest.param("@script: colour=red chunks=3", Script(), id="unknown-key-ends-it"),
        pytest.param("no directive", None, id="none"),
    ],
)
def test_a_prompt_asks_for(text: str, expected: Script | None) -> None:
    assert directive(text) == expected


@given(st.text())
def test_any_prompt_is_read_without_an_error(text: str) -> None:
    directive("@script:" + text)


@given(st.text(), st.integers(0, 50))
def test_pieces_join_to_the_text(text: str, count: int) -> None:
    if count or text.strip():
        assert "".join(cut(text, count)) == text


def test_a_text_is_cut_into_as_many_pieces_as_asked() -> None:
    assert [len(Script(text="abcdefg", chunks=3).pieces), len(Script(chunks=0).pieces)] == [3, 8]


def test_a_size_makes_a_text_of_that_length() -> None:
    assert len(Script(size=1000).words) == 1000
    assert Script().words == DEFAULT_TEXT


def test_usage_can_lie() -> None:
    assert Script(usage="negative").count(12) == -5
    assert {Script(usage=name).count(1).__class__.__name__ for name in USAGE_LIES} == {
        "int", "str", "float", "dict", "NoneType",
    }  # fmt: skip


def test_a_quote_is_the_last_that_fits_or_nothing() -> None:
    script = Script(
        text="<{quote}>", tool_calls=(ScriptedTool(name="W", arguments="{quote}"),), quote="a."
    )
    assert script.quoting("a1 a2 b").words == "<a2>"
    assert script.quoting("a1 a2 b").tool_calls[0].arguments == "a2"
    assert script.quoting("b").words == "<>"
