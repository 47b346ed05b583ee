import json
import tracemalloc

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.providers.jsongate import BadJson, JsonLimits, Reason, parse

VALID = {
    "empty-object": b"{}",
    "empty-array": b"[]",
    "lone-string": b'"a"',
    "lone-number": b"-0",
    "lone-true": b"true",
    "lone-null": b"null",
    "empty-string": b'""',
    "all-whitespace": b" \t\r\n[ \t\r\n1 \t\r\n, \t\r\n2 \t\r\n] \t\r\n",
    "all-escapes": rb'["\"\\\/\b\f\n\r\t\u00e9"]',
    "escaped-nul": rb'["\u0000"]',
    "escaped-surrogate-pair": rb'["\ud83d\ude00"]',
    "utf8": '["é 漢 😀 \u2028"]'.encode(),
    "delete-character": b'["\x7f"]',
    "noncharacter": "[\"\uffff\"]".encode(),
    "unicode-key": '{"ключ": 1}'.encode(),
    "empty-key": b'{"": 0}',
    "key-with-nul": rb'{"a\u0000b": 0}',
    "exponents": b"[1e5, 1E+5, 1e-5, -0.0, 0e1, 1.5e00]",
    "tiny-number": b"[1e-999]",
    "integer-of-64-bits": b"[18446744073709551615, -9223372036854775808]",
    "longer-integer": b"[123456789012345678901234567890]",
    "nested-128": b"[" * 128 + b"]" * 128,
    "same-key-in-two-objects": b'[{"a": 1}, {"a": {"a": 1}}]',
    "strings-like-structure": rb'["}{][,:", "\"a\": 1, \"a\": 2"]',
    "case-variants-of-a-users-own-keys": b'{"messages":[{"content":[{"input":{"a":1,"A":2}}]}]}',
    "case-variants-in-a-schema": b'{"tools":[{"parameters":{"properties":{"id":{},"ID":{}}}}]}',
}  # fmt: skip

INVALID = {
    "nothing": b"",
    "only-whitespace": b" \n",
    "unescaped-newline": b'["a\nb"]',
    "unescaped-nul": b'["\x00"]',
    "unescaped-tab": b'["\t"]',
    "unescaped-unit-separator": b'["\x1f"]',
    "trailing-comma-in-array": b"[1,]",
    "trailing-comma-in-object": b'{"a":1,}',
    "double-comma": b"[1,,2]",
    "leading-comma": b"[,1]",
    "no-comma": b"[1 2]",
    "no-colon": b'{"a" 1}',
    "double-colon": b'{"a"::1}',
    "no-value": b'{"a":}',
    "no-key": b"{:1}",
    "bare-key": b"{a:1}",
    "number-as-key": b"{1:1}",
    "single-quotes": b"['a']",
    "unclosed-array": b"[1",
    "unclosed-object": b'{"a":1',
    "unclosed-string": b'["a',
    "unclosed-escape": b'["\\',
    "mismatched-brackets": b"[1}",
    "closed-twice": b"[1]]",
    "two-documents": b"{}{}",
    "trailing-garbage": b"{} x",
    "trailing-nul": b"{}\x00",
    "line-comment": b"[1] // x",
    "block-comment": b"[/* x */ 1]",
    "hash-comment": b"[1] # x",
    "nan": b"[NaN]",
    "infinity": b"[Infinity]",
    "minus-infinity": b"[-Infinity]",
    "inf": b"[inf]",
    "undefined": b"[undefined]",
    "capital-true": b"[True]",
    "cut-true": b"[tru]",
    "leading-zero": b"[01]",
    "leading-plus": b"[+1]",
    "leading-point": b"[.5]",
    "trailing-point": b"[1.]",
    "empty-exponent": b"[1e]",
    "hex-number": b"[0x1]",
    "underscore-number": b"[1_000]",
    "double-minus": b"[--1]",
    "minus-alone": b"[-]",
    "fullwidth-digit": "[\uff11]".encode(),
    "infinite-number": b"[1e999]",
    "integer-of-5000-digits": b"[" + b"1" * 5_000 + b"]",
    "bad-escape": rb'["\x41"]',
    "escaped-newline": b'["\\\n"]',
    "short-unicode-escape": rb'["\u00e"]',
    "long-unicode-escape": rb'["\U0001f600"]',
    "lone-high-surrogate": rb'["\ud800"]',
    "lone-low-surrogate": rb'["\udc00"]',
    "surrogates-reversed": rb'["\udc00\ud800"]',
    "high-surrogate-then-text": rb'["\ud800a"]',
    "surrogate-in-key": rb'{"\ud800": 1}',
    "surrogate-as-utf8": b'["\xed\xa0\x80"]',
    "overlong-utf8": b'["\xc0\xaf"]',
    "lone-continuation": b'["\x80"]',
    "cut-utf8": b'["\xe6\xbc"]',
    "latin-1": b'["\xe9"]',
    "utf8-beyond-unicode": b'["\xf4\x90\x80\x80"]',
    "bom": b"\xef\xbb\xbf{}",
    "bom-inside": b"[\xef\xbb\xbf]",
    "utf-16": '{"a": 1}'.encode("utf-16"),
    "utf-16-le": '{"a": 1}'.encode("utf-16-le"),
    "utf-16-be": '{"a": 1}'.encode("utf-16-be"),
    "utf-32": '{"a": 1}'.encode("utf-32"),
    "no-break-space": "[\u00a01]".encode(),
    "form-feed": b"[\x0c1]",
    "nested-100000": b"[" * 100_000,
    "nested-100000-objects": b'{"a":' * 100_000,
}  # fmt: skip


@pytest.mark.parametrize("document", VALID.values(), ids=VALID)
def test_json_passes(document: bytes) -> None:
    assert parse(document) == orjson.loads(document)


@pytest.mark.parametrize(
    ("document", "where"),
    [
        pytest.param(b" ", "the empty body", id="empty"),
        pytest.param(b'{"a":1,}', "line 1, column 7", id="comma"),
        pytest.param(b'{\n "a": my-secret}', "line 2, column 7", id="second-line"),
        pytest.param(
            b'{"a": "\xff"}', "the first character, or at bytes that are no UTF-8", id="latin-1"
        ),
    ],
)
def test_the_place_is_told_and_nothing_of_what_stands_there(document: bytes, where: str) -> None:
    with pytest.raises(BadJson) as caught:
        parse(document)
    assert str(caught.value) == f"bad JSON: invalid at {where}"


@pytest.mark.parametrize("document", INVALID.values(), ids=INVALID)
def test_what_is_no_json_is_refused(document: bytes) -> None:
    with pytest.raises(BadJson) as caught:
        parse(document)
    assert caught.value.reason is Reason.INVALID


@pytest.mark.parametrize(
    ("document", "where"),
    [
        pytest.param(b'{"messages":[1],"messages":[2]}', "messages", id="root"),
        pytest.param(b'{"a":1,"a":1}', "a", id="equal-values"),
        pytest.param(rb'{"messages":[1],"\u006dessages":[2]}', "messages", id="escaped"),
        pytest.param(
            b'{"messages":[{"role":"user"},{"content":1,"content":2}]}',
            "messages[1].content",
            id="nested",
        ),
        pytest.param(b'{"a":{"b":[[{"c":1,"d":2,"c":3}]]}}', "a.b[0][0].c", id="deep"),
        pytest.param(b'{"t":{"x y":{"z":1,"z":2}}}', "t.….z", id="odd-key-is-not-shown"),
        pytest.param('{"ключ":1,"ключ":2}'.encode(), "…", id="odd-duplicate-is-not-shown"),
        pytest.param(b'{"":1,"":2}', "…", id="empty-key"),
        pytest.param(b'{"messages":[1],"Messages":[2]}', "Messages", id="case-at-the-root"),
        pytest.param(
            b'{"messages":[{"content":"a","CONTENT":"b"}]}', "messages[0].CONTENT", id="case-item"
        ),
        pytest.param(
            b'{"messages":[{"content":[{"text":"a","Text":"b"}]}]}',
            "messages[0].content[0].Text",
            id="case-item-of-item",
        ),
        pytest.param('{"mask":1,"mas\u212a":2}'.encode(), "…", id="case-by-kelvin-sign"),
    ],
)
def test_a_key_that_stands_twice_is_refused(document: bytes, where: str) -> None:
    with pytest.raises(BadJson) as caught:
        parse(document)
    assert (caught.value.reason, caught.value.where) == (Reason.DUPLICATE_KEY, where)


SMALL = JsonLimits(depth=3, nodes=10, string_length=8, number_length=6)


@pytest.mark.parametrize(
    ("within", "over", "reason"),
    [
        pytest.param(b'[[{"a":1}]]', b'[[{"a":[]}]]', Reason.DEPTH, id="depth"),
        pytest.param(b"[1,2,3,4,5,6,7,8,9]", b"[1,2,3,4,5,6,7,8,9,0]", Reason.NODES, id="nodes"),
        pytest.param(
            b"[[],[],[],[],[],[],[],[],[]]",
            b"[[],[],[],[],[],[],[],[],[],[]]",
            Reason.NODES,
            id="empty-nodes",
        ),
        pytest.param(b'["12345678"]', b'["123456789"]', Reason.STRING_LENGTH, id="string"),
        pytest.param(b'{"12345678":1}', b'{"123456789":1}', Reason.STRING_LENGTH, id="key"),
        pytest.param(b"[1.2345]", b"[1.23456]", Reason.NUMBER_LENGTH, id="fraction"),
        pytest.param(b"[1e0000]", b"[1e00000]", Reason.NUMBER_LENGTH, id="exponent"),
    ],
)
def test_limits(within: bytes, over: bytes, reason: Reason) -> None:
    assert parse(within, SMALL) == json.loads(within)
    with pytest.raises(BadJson) as caught:
        parse(over, SMALL)
    assert caught.value.reason is reason


def test_the_limits_as_they_are_unless_set() -> None:
    for document, reason in [
        (b"[" * 129 + b"]" * 129, Reason.DEPTH),
        (b"[0." + b"1" * 999 + b"]", Reason.NUMBER_LENGTH),
    ]:
        with pytest.raises(BadJson) as caught:
            parse(document)
        assert caught.value.reason is reason
    assert parse(b"[0." + b"1" * 998 + b"]")


def test_commas_in_strings_are_no_nodes() -> None:
    text = ",[{" * 20
    assert parse(json.dumps([text, text]).encode(), JsonLimits(nodes=10)) == [text, text]


def test_a_node_bomb_is_refused_before_it_is_built() -> None:
    bomb = b"[" + b"[]," * 1_000_000 + b"[]]"
    tracemalloc.start()
    try:
        with pytest.raises(BadJson) as caught:
            parse(bomb, JsonLimits(nodes=100_000))
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert caught.value.reason is Reason.NODES
    assert peak < 2 * len(bomb)


def test_errors_do_not_quote_the_document() -> None:
    for document in (b'{"secret": hunter2}', b'{"hunter2 hunter2":1,"hunter2 hunter2":2}'):
        with pytest.raises(BadJson) as caught:
            parse(document)
        assert "hunter2" not in str(caught.value)
        assert caught.value.__cause__ is None


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**64 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner) | st.dictionaries(st.text("ab{,\\\"é", max_size=4), inner),
    max_leaves=20,
)  # fmt: skip


@given(JSON)
@settings(max_examples=100)
def test_any_document_is_read_as_it_was_written(document: object) -> None:
    assert parse(json.dumps(document).encode()) == document


@given(st.dictionaries(st.text('ab\\"é:', max_size=4), st.integers(), min_size=1), st.data())
@settings(max_examples=100)
def test_any_repeated_key_is_found(fields: dict[str, int], data: st.DataObject) -> None:
    pairs = [f"{json.dumps(key)}:{value}" for key, value in fields.items()]
    again = data.draw(st.sampled_from(sorted(fields)))
    pairs.insert(data.draw(st.integers(0, len(pairs))), f"{json.dumps(again)}:0")
    with pytest.raises(BadJson):
        parse(f'{{"a":[{{{",".join(pairs)}}}]}}'.encode())


def _number(digits: str) -> float:
    """Read digits as orjson does: exactly within 64 bits, as a float beyond."""
    value = int(digits)
    return value if -(2**63) <= value < 2**64 else float(value)


@given(st.binary(max_size=60) | st.text('[]{}",:\\u0019.e-truefalsn ').map(str.encode))
@settings(max_examples=300)
def test_no_bytes_raise_anything_else(document: bytes) -> None:
    try:
        parse(document)
    except BadJson:
        return
    # beyond 64 bits orjson's whole numbers are floats
    assert orjson.loads(document) == json.loads(document, parse_int=_number)
