from dataclasses import dataclass

from llmtrace.analyzers.normalize.view import APART, NEAR, Aligned, Piece, View, joined, replaced


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
