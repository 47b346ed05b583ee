import pytest
from hypothesis import given
from hypothesis import strategies as st

from llmtrace.domain.parts import ORIGIN_OF, Media, MediaKind, Origin, Part, Path, Role, location


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ((), ""),
        (("messages", 3, "content", 0, "text"), "messages[3].content[0].text"),
        ((0, "x"), "[0].x"),
        (("a", 1, 2), "a[1][2]"),
        (("system",), "system"),
    ],
)
def test_a_place_is_written_as_people_read_it(path: Path, text: str) -> None:
    assert location(path) == text


@given(st.lists(st.integers(0, 99) | st.from_regex(r"[a-z_]{1,9}", fullmatch=True)).map(tuple))
def test_places_that_differ_are_written_differently(path: Path) -> None:
    text = location(path)
    steps = text.replace("[", ".[").removeprefix(".").split(".") if text else []
    read = [int(step[1:-1]) if step.startswith("[") else step for step in steps]
    assert tuple(read) == path


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("ghp_" + "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8", id="token"),
        pytest.param("AKIA" + "QRSTUVWXYZABCDEF", id="letters-of-a-key"),
        pytest.param("DE89-3704-0044-0532-0130-00", id="account"),
        pytest.param("jane.roe@acme-corp.com", id="address"),
        pytest.param("please keep this", id="words"),
        pytest.param("a" * 41, id="long"),
    ],
)
def test_a_name_that_says_something_is_not_told(name: str) -> None:
    assert location(("input", name, 0, "text")) == "input.…[0].text"


@pytest.mark.parametrize("name", ["maxOutputTokens", "ephemeral_5m_input_tokens", "src/main.py"])
def test_a_name_that_is_one_is_told(name: str) -> None:
    assert location(("a", name)) == f"a.{name}"


def test_what_comes_from_elsewhere_is_not_trusted() -> None:
    assert set(ORIGIN_OF) == set(Role)
    untrusted = {role for role, origin in ORIGIN_OF.items() if origin is Origin.UNTRUSTED}
    assert untrusted == {Role.TOOL_RESULT, Role.TOOL_DESCRIPTION}


def test_parts_and_media_know_their_place() -> None:
    path = ("messages", 0, "content")
    part = Part(role=Role.USER, origin=Origin.TRUSTED, path=path, text="hello")
    media = Media(role=Role.USER, origin=Origin.TRUSTED, path=path, kind=MediaKind.IMAGE)
    assert part.location == media.location == "messages[0].content"
    assert (media.size, media.sha256, media.host) == (None, None, None)
