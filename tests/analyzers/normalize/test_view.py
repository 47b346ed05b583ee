from dataclasses import dataclass

from llmtrace.analyzers.normalize.view import Aligned, Piece, View, joined, replaced


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
