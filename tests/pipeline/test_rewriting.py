"""Arguments of tools, changed text by text or as they are written."""

import pytest

from llmtrace.pipeline.rewriting import MAX_SPANS, cut, each_text


@pytest.mark.parametrize(
    ("arguments", "changed"),
    [
        pytest.param('{ "a" : "x" }', '{ "a" : "X" }', id="value"),
        pytest.param('{"x y": 1}', '{"X Y": 1}', id="name"),
        pytest.param('"x"', '"X"', id="text-alone"),
        pytest.param("x {", "X {", id="no-json"),
        pytest.param('{"x":[1,null]}', '{"x":[1,null]}', id="plain-name"),
        pytest.param('{"a": "\\u0078", "b": 1.0}', '{"a": "X", "b": 1.0}', id="escaped"),
    ],
)
def test_each_text_is_changed_and_nothing_else(arguments: str, changed: str) -> None:
    assert each_text(arguments, str.upper) == changed


def test_long_numbers_are_texts() -> None:
    assert each_text('{"n": 123456789012}', lambda _: "hidden") == '{"n": "hidden"}'


@pytest.mark.parametrize(
    ("arguments", "value", "left"),
    [
        pytest.param('{"a": "x 12 y"}', "12", '{"a": "x * y"}', id="in-a-text"),
        pytest.param('{"a": 12}', "12", '{"a": "*"}', id="number"),
        pytest.param('{"a": 12}', '": 12', None, id="over-a-border"),
        pytest.param('{"a": true}', "true", None, id="no-text"),
    ],
)
def test_a_span_is_cut_where_json_stays_json(arguments: str, value: str, left: str | None) -> None:
    at = arguments.index(value)
    assert cut(arguments, [(at, at + len(value), "*")]) == left


def test_several_spans_are_cut() -> None:
    assert cut('["ab", 1, "cd"]', [(2, 3, "*"), (7, 8, "#"), (11, 13, "+")]) == '["*b", "#", "+"]'


def test_many_spans_are_not_cut() -> None:
    text = '"' + "a" * (MAX_SPANS + 1) + '"'
    spans = [(at, at + 1, "*") for at in range(1, MAX_SPANS + 2)]
    assert cut(text, spans) is None
    assert cut(text, spans[1:]) == '"a' + "*" * MAX_SPANS + '"'
