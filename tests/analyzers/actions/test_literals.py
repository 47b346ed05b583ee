"""Strings in programs, and what they are given to."""

from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.actions.literals import literals, tool_calls


def test_a_literal_knows_its_call_and_key() -> None:
    found = list(literals('a.b({cmd: \'x\', y: "z"}); f("""q""") \n# \'no\'\n// \'no\'\n`t`'))
    assert [(one.call, one.key, one.text) for one in found] == [
        ("a.b", "cmd", "x"),
        ("a.b", "y", "z"),
        ("f", "", "q"),
        ("", "", "t"),
    ]


def test_escapes_are_read_and_told() -> None:
    (one,) = literals(r"'\x72' + 1")
    assert (one.exact, one.start, one.end) == (False, 1, 5)


def test_arrays_are_told_apart() -> None:
    assert [one.array for one in literals("f(['a', 'b'], ['c'])")] == [1, 1, 2]


def test_calls_of_tools() -> None:
    code = 'await tools.a({cmd: "x"}); await tools.a({cmd: "y"}); tools.b("z"); other("w")'
    found = [(name, [leaf.text for leaf in leaves]) for name, leaves in tool_calls(code)]
    assert found == [("a", ["x"]), ("a", ["y"]), ("b", ["z"])]


@given(st.text(alphabet="'\"`\\/*#(){}[],:=ab.\n", max_size=60))
@settings(max_examples=80, deadline=None)
def test_no_text_raises(code: str) -> None:
    assert all(0 <= one.start <= one.end <= len(code) for one in literals(code))
    list(tool_calls(code))
