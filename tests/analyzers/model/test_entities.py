from llmtrace.analyzers.model.entities import Entity, by_word, entities
from llmtrace.analyzers.model.network import Reading
from llmtrace.analyzers.model.reading import Window

TAGS = ("O", "B-PERSON", "I-PERSON", "B-ORG", "I-ORG")


def read(
    tags: list[int], *, first: int = 0, sure: list[float] | None = None
) -> tuple[Window, Reading]:
    """Tokens of two characters, with a space between them."""
    spans = [((first + i) * 3, (first + i) * 3 + 2) for i in range(len(tags))]
    return Window(range(len(tags)), spans), Reading(0.0, tags, sure or [0.9] * len(tags))


def found(*read_: tuple[Window, Reading]) -> list[Entity]:
    return entities([window for window, _ in read_], [reading for _, reading in read_], TAGS)


def test_a_name_ends_where_its_tags_end() -> None:
    assert found(read([0, 1, 2, 0])) == [Entity("PERSON", 3, 8, 0.9)]


def test_a_name_is_as_sure_as_its_least_sure_token() -> None:
    assert found(read([1, 2], sure=[0.9, 0.6])) == [Entity("PERSON", 0, 5, 0.6)]


def test_names_side_by_side_are_two() -> None:
    assert [(e.label, e.start, e.end) for e in found(read([1, 1, 3]))] == [
        ("PERSON", 0, 2),
        ("PERSON", 3, 5),
        ("ORG", 6, 8),
    ]


def test_a_tag_that_goes_on_with_nothing_begins_a_name() -> None:
    assert [(e.label, e.start, e.end) for e in found(read([2, 2, 4]))] == [
        ("PERSON", 0, 5),
        ("ORG", 6, 8),
    ]


def test_where_windows_overlap_a_name_is_told_once_and_whole() -> None:
    made = found(read([0, 0, 1]), read([1, 2, 2, 0], first=2))
    assert [(e.start, e.end) for e in made] == [(6, 14)]


def words(text: str, tags: list[int], *spans: tuple[int, int]) -> list[int]:
    window, reading = Window(range(len(tags)), spans), Reading(0.0, tags, [0.9] * len(tags))
    (made,) = by_word(text, [window], [reading], TAGS)
    return list(made.tags)


def test_a_word_has_the_tag_of_its_first_token() -> None:
    spans = ((0, 5), (6, 8), (8, 11), (11, 14))
    assert words("Maria Gonzalez", [1, 2, 0, 3], *spans) == [1, 2, 2, 2]


def test_a_word_that_begins_a_name_goes_on_with_it() -> None:
    assert words("Gonzalez", [1, 0, 1], (0, 2), (2, 5), (5, 8)) == [1, 2, 2]


def test_what_follows_a_sign_or_a_space_is_a_word_of_its_own() -> None:
    assert words("Maria, Bob", [1, 0, 1], (0, 5), (5, 6), (6, 10)) == [1, 0, 1]


def test_scripts_without_spaces_keep_the_tags_of_their_tokens() -> None:
    assert words("田中さん", [1, 2, 0], (0, 1), (1, 2), (2, 4)) == [1, 2, 0]


def test_bytes_of_one_letter_are_one_word() -> None:
    assert words("é1", [1, 0, 0], (0, 1), (0, 1), (1, 2)) == [1, 2, 2]
