from dataclasses import dataclass
from itertools import count

from llmtrace.analyzers.normalize.view import (
    APART,
    NEAR,
    WHOLE,
    Aligned,
    Excerpt,
    Piece,
    View,
    aligned,
    characters,
    joined,
    replaced,
)


@dataclass(frozen=True)
class Below:
    text: str

    def span(self, start: int, end: int) -> tuple[int, int]:
        return start, end


BELOW = Below("say %69%67 now")


def test_a_replaced_run_stands_for_all_of_its_writing() -> None:
    pieces = replaced(BELOW.text, [Piece("ig", 4, 10)])
    view = View.of("escapes", BELOW, pieces, decoded=True)
    assert view.text == "say ig now"
    assert view.span(0, 3) == (0, 3)
    assert view.span(4, 5) == (4, 10)
    assert view.span(2, 8) == (2, 12)
    assert view.span(7, 10) == (11, 14)
    assert view.changed(3, 5)
    assert not view.changed(7, 10)
    assert view.changed(6, 10)  # what stands beside it is another


def test_what_stands_beside_an_empty_run_is_changed() -> None:
    view = View.of("colours", BELOW, replaced("abcd", [Piece("", 2, 3)]), decoded=True)
    assert view.text == "abd"
    assert view.changed(2, 3)
    assert view.changed(0, 2)
    assert not view.changed(0, 1)


def test_what_is_far_from_any_run_is_left_out() -> None:
    below = Below("a" * 2_000 + "%69" + "b" * 2_000 + "%67" + "c" * 2_000)
    pieces = replaced(below.text, [Piece("i", 2_000, 2_003), Piece("g", 4_003, 4_006)])
    view = View.of("escapes", below, pieces, decoded=True)
    assert view.text == f"{APART}{'a' * NEAR}i{'b' * NEAR}{APART}{'b' * NEAR}g{'c' * NEAR}"
    for char, start in (("i", 2_000), ("g", 4_003)):
        at = view.text.index(char)
        assert view.span(at, at + 1) == (start, start + 3)
        assert view.span(at - 1, at + 2) == (start - 1, start + 4)


def test_joined_runs_stand_on_lines_of_their_own() -> None:
    view = View.of("x", BELOW, joined([Piece("a b", 0, 3), Piece("c", 9, 11)]), decoded=True)
    assert view.text == "a b\nc\n"
    assert view.span(0, 1) == (0, 3)
    assert view.span(4, 5) == (9, 11)
    assert view.span(2, 5) == (0, 11)


def test_an_empty_run_is_skipped() -> None:
    view = View.of("x", BELOW, replaced("abc", [Piece("", 1, 2)]), decoded=True)
    assert view.text == "ac"
    assert view.span(1, 2) == (2, 3)


def test_a_view_backwards() -> None:
    view = Aligned("reversed", BELOW.text[::-1], BELOW, backwards=True)
    assert view.span(0, 3) == (11, 14)
    assert view.changed(0, 1)


def test_an_aligned_view_is_changed_where_it_differs() -> None:
    view = Aligned("leet", "all", Below("a11"))
    assert not view.changed(0, 1)
    assert view.changed(0, 2)


def test_an_aligned_view_shows_what_is_near_to_some_places() -> None:
    far = "x" * WHOLE
    below = Below(f"{far}a1{far}b1{far}")
    first, second = below.text.index("a"), below.text.index("b")
    view = aligned("leet", below, lambda text: text.replace("1", "l"), [first, second])
    assert isinstance(view, Excerpt)
    assert len(view.text) == 4 * NEAR + len(APART)
    at, other = view.text.index("al"), view.text.index("bl")
    assert view.span(at, at + 2) == (first, first + 2)
    assert view.span(other, other + 2) == (second, second + 2)
    assert view.changed(at, at + 2)
    assert not view.changed(at, at + 1)
    assert not view.changed(other + 2, other + 9)
    assert view.span(0, len(view.text)) == (first - NEAR, second + NEAR)
    between = view.text.index(APART)
    assert view.span(between, between + 1) == (first + NEAR - 1, first + NEAR)


def test_a_decoded_excerpt_is_changed_beside_what_differs_too() -> None:
    below = Below(f"{'x' * WHOLE}a1{'x' * WHOLE}")
    place = below.text.index("a")
    view = aligned("e", below, lambda text: text.replace("1", "l"), [place], decoded=True)
    assert isinstance(view, Excerpt)
    at = view.text.index("l")
    assert view.changed(at + 1, at + 3)
    assert not view.changed(at + 2, at + 3)


def test_places_that_are_everywhere_show_all_and_are_not_all_asked_for() -> None:
    below = Below("a1" * WHOLE)
    places = count(0, NEAR)
    view = aligned("leet", below, lambda text: text.replace("1", "l"), places)
    assert isinstance(view, Aligned)
    assert len(view.text) == len(below.text)
    assert next(places) < len(below.text)


def test_places_are_told_in_characters() -> None:
    text = "\u00e4\U0001f600b\ud800c"
    data = text.encode("utf-8", "replace")
    places = [data.index(b"b"), data.index(b"c"), len(data)]
    assert list(characters(text, data, places)) == [2, 4, 5]
    assert list(characters("abc", b"abc", [0, 2])) == [0, 2]


def test_a_text_of_some_pages_is_shown_whole() -> None:
    below = Below(f"a1{'x' * (WHOLE - 2)}")
    assert isinstance(aligned("leet", below, str.upper, [0]), Aligned)
    assert isinstance(aligned("leet", Below(f"{below.text}x"), str.upper, [0]), Excerpt)


def test_a_place_within_a_character_is_that_characters() -> None:
    text = "\u6587" * 4
    assert list(characters(text, text.encode(), range(0, 12, 2))) == [0, 0, 1, 2, 2, 3]
