import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.config.yamltext import MAX_DEPTH, MAX_NODES, BadYaml, read_tree, read_value

LAUGHS = "a0: &a0 [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)


def test_keys_have_their_lines() -> None:
    tree, lines = read_tree("# head\nlisten: a:1\n\nstorage:\n  # why\n  profile: lite\n")
    assert tree == {"listen": "a:1", "storage": {"profile": "lite"}}
    assert lines == {("listen",): 2, ("storage",): 4, ("storage", "profile"): 6}


def test_items_of_lists_have_theirs() -> None:
    _, lines = read_tree("a:\n- b: 1\n  c: 2\n- [x,\n  y]\n")
    assert lines[("a", "0", "c")] == 3
    assert lines[("a", "1")] == 4
    assert lines[("a", "1", "1")] == 5


@pytest.mark.parametrize("text", ["", "# only a comment\n", "---\n", "null\n"])
def test_nothing_is_an_empty_tree(text: str) -> None:
    assert read_tree(text) == ({}, {})


def test_a_byte_order_mark_is_no_key() -> None:
    assert read_tree("\ufeffworkers: 1\n")[0] == {"workers": 1}


def test_an_anchor_may_be_used_again() -> None:
    tree, _ = read_tree("a: &prices {in: 1}\nb: *prices\nc: {<<: *prices, out: 2}\n")
    assert tree == {"a": {"in": 1}, "b": {"in": 1}, "c": {"in": 1, "out": 2}}


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        pytest.param("a: 1\nb: 2\na: 3\n", 3, "a stands twice .first in line 1.", id="twice"),
        pytest.param("s:\n  k: 1\n  k: 2\n", 3, "s.k stands twice", id="twice-in-a-section"),
        pytest.param("a: [1\n", 2, "not YAML: expected", id="unclosed"),
        pytest.param("a:\n\tb: 1\n", 2, "not YAML: found character", id="tab"),
        pytest.param("a: 1\n---\nb: 1\n", 2, "single document", id="two-documents"),
        pytest.param("a: !!python/object:os.system x\n", 1, "constructor", id="python-tag"),
        pytest.param("a: 1\nb: \0\n", 2, "control character", id="nul"),
        pytest.param("? [a]\n: 1\n", 1, "unhashable", id="list-as-key"),
        pytest.param("a: 2024-99-99\n", None, "cannot be read", id="impossible-date"),
        pytest.param("- 1\n- 2\n", None, "expected a mapping of sections, found a list", id="list"),
        pytest.param("words\n", None, "expected a mapping of sections, found a str", id="text"),
        pytest.param(LAUGHS, None, f"more than {MAX_NODES} values", id="billion-laughs"),
        pytest.param("a: &a {b: *a}\n", None, f"{MAX_DEPTH} levels", id="endless"),
        pytest.param("a: &a\n  <<: *a\n", None, "levels", id="merged-into-itself"),
        pytest.param("[" * 400 + "]" * 400, None, "levels|deep", id="deep"),
    ],
)
def test_what_cannot_be_used_is_refused(text: str, line: int | None, said: str) -> None:
    with pytest.raises(BadYaml, match=said) as caught:
        read_tree(text)
    assert caught.value.line == line


def test_a_value_that_looks_like_an_alias_is_not_quoted() -> None:
    with pytest.raises(BadYaml) as caught:
        read_value("*hunter2")
    assert "hunter2" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.text(alphabet="a: &*[]{}<,\n-!#'\"|>%@`?\t1", max_size=40))
def test_any_text_gives_a_tree_or_says_why_not(text: str) -> None:
    try:
        tree, _ = read_tree(text)
    except BadYaml as error:
        tree, said = {}, str(error)
    else:
        said = ""
    assert isinstance(tree, dict)
    assert "\n" not in said
