import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from llmtrace.domain.parts import Path
from llmtrace.providers.editing import EditFailed, edit

DOCUMENT = b'{ "a" : [1.0e-7, {"b":"\\u00e9 x", "c": [ ] }, "last"],\n\t"z":{"q":null}, "n": -0.0 }'

texts = st.text(st.characters(codec="utf-8"), max_size=8)
documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def places(value: Any, path: Path = ()) -> Iterator[tuple[Path, str]]:
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from places(item, (*path, index))
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from places(item, (*path, key))


@given(documents, st.data(), st.booleans(), st.sampled_from([None, 0, 2]))
def test_any_text_of_any_document_is_changed_and_nothing_else(
    document: Any, data: st.DataObject, ascii_only: bool, indent: int | None
) -> None:
    found = dict(places(document))
    assume(found)
    chosen = data.draw(st.lists(st.sampled_from(sorted(found, key=repr)), min_size=1, unique=True))
    written = json.dumps(document, ensure_ascii=ascii_only, indent=indent).encode()
    edits = {path: f"new {n} \ud800" for n, path in enumerate(chosen)}
    edited = edit(written, edits, expected={path: found[path] for path in chosen})
    assert dict(places(json.loads(edited))) == found | edits
    back = edit(edited, {path: found[path] for path in chosen})
    again = edit(written, {path: found[path] for path in chosen})
    assert back == again


def test_every_byte_around_a_value_stays() -> None:
    edited = edit(DOCUMENT, {("a", 1, "b"): 'q"', ("z", "q"): [1]})
    assert edited == DOCUMENT.replace(b'"\\u00e9 x"', b'"q\\""').replace(b"null", b"[1]")


def test_no_edit_is_the_same_document() -> None:
    assert edit(DOCUMENT, {}) is DOCUMENT


def test_the_whole_document_can_be_the_value() -> None:
    assert edit(b' "old" ', {(): "new"}) == b' "new" '


@pytest.mark.parametrize(
    ("path", "where"),
    [
        pytest.param(("nowhere",), "nowhere", id="no-such-key"),
        pytest.param(("a", 7), "a[7]", id="no-such-index"),
        pytest.param(("a", 0, "x"), "a[0]", id="within-a-number"),
        pytest.param(("a", "x"), "a.x", id="key-of-a-list"),
        pytest.param(("z", 0), "z[0]", id="index-of-an-object"),
    ],
)
def test_a_place_that_is_not_there_is_named(path: Path, where: str) -> None:
    with pytest.raises(EditFailed) as failed:
        edit(DOCUMENT, {path: "new"})
    assert failed.value.where == where


def test_an_edit_within_an_edit_is_refused() -> None:
    with pytest.raises(EditFailed, match="within it"):
        edit(DOCUMENT, {("a",): [], ("a", 0): 1})


def test_a_key_that_is_there_twice_is_refused() -> None:
    with pytest.raises(EditFailed, match="twice"):
        edit(b'{"a":"x","a":"y"}', {("a",): "z"})


def test_what_is_not_as_it_was_read_is_refused_without_telling_it() -> None:
    with pytest.raises(EditFailed) as failed:
        edit(b'{"a":"the text"}', {("a",): "z"}, expected={("a",): "another"})
    assert "the text" not in str(failed.value)


@pytest.mark.parametrize("cut", range(1, len(DOCUMENT)))
def test_a_document_that_is_cut_short_is_refused_or_its_rest_is_not_needed(cut: int) -> None:
    try:
        edit(DOCUMENT[:cut], {("a", 1, "b"): "new"})
    except EditFailed:
        return
    pytest.fail("a document without its end was edited")
