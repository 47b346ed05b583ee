import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.certs.names import MAX_SUBTREES, MintGuard, canonical, difference, permits, subtrees

LABELS = st.text("abcxyz019", min_size=1, max_size=8)
NAMES = st.lists(LABELS, min_size=2, max_size=5).map(".".join)


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("API.OpenAI.com", "api.openai.com"),
        ("api.openai.com.", "api.openai.com"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("my_host.example", "my_host.example"),
        (" 10.0.0.1. ", "10.0.0.1"),
    ],
)
def test_a_name_has_one_form(host: str, expected: str) -> None:
    assert canonical(host) == expected


@pytest.mark.parametrize(
    "host",
    [
        *("", ".", "a..b", "-a.com", "a b.com", "*.com", "a/b.com", "[a]", "[::1"),
        *("x" * 64, ".".join(["a" * 60] * 5), "a.com\n.b", "a\0.com", "\ud800.com"),
    ],
)
def test_what_is_no_dns_name_is_refused_and_never_permitted(host: str) -> None:
    with pytest.raises(ValueError, match=r"is no DNS name"):
        canonical(host)
    assert not permits({"com"}, host)


def test_subtrees_are_sorted_without_what_another_covers() -> None:
    names = ["b.example.com", "*.example.com", ".example.com", "api.openai.com", "EXAMPLE.com."]
    assert subtrees(names) == ("api.openai.com", "example.com")


@pytest.mark.parametrize("names", [[], ["com"], ["*.com"], ["de"], ["xn--p1ai"], ["*"]])
def test_subtrees_that_permit_too_much_or_nothing_are_refused(names: list[str]) -> None:
    with pytest.raises(ValueError, match=r"permit|DNS name"):
        subtrees(names)


def test_a_service_name_of_a_private_network_may_be_a_subtree() -> None:
    assert subtrees(["ollama", "localhost"]) == ("localhost", "ollama")


def test_an_address_permits_itself_alone() -> None:
    assert subtrees(["10.0.0.1", "[2001:DB8::1]"]) == ("10.0.0.1", "2001:db8::1")
    assert permits({"10.0.0.1"}, "10.0.0.1")
    assert permits({"2001:db8::1"}, "[2001:db8:0::1]")
    assert not permits({"10.0.0.1"}, "10.0.0.2")
    assert not permits({"0.0.1"}, "10.0.0.1")


def test_there_is_a_bound_on_subtrees() -> None:
    names = [f"h{i}.example.com" for i in range(MAX_SUBTREES)]
    assert len(subtrees(names)) == MAX_SUBTREES
    with pytest.raises(ValueError, match="expected 1 to"):
        subtrees([*names, "one.more.org"])


def test_a_subtree_permits_itself_and_what_is_beneath_it_only() -> None:
    assert permits({"openai.com"}, "openai.com")
    assert permits({"openai.com"}, "a.b.OpenAI.com.")
    assert not permits({"openai.com"}, "notopenai.com")
    assert not permits({"openai.com"}, "openai.com.evil.org")
    assert not permits({"api.openai.com"}, "openai.com")


@settings(max_examples=100)
@given(st.lists(NAMES, min_size=1, max_size=8), NAMES)
def test_minimal_subtrees_permit_any_name_that_the_names_did(names: list[str], host: str) -> None:
    minimal = subtrees(names)
    assert all(permits(minimal, name) for name in names)
    assert permits(minimal, host) == permits(frozenset(names), host)
    assert subtrees(minimal) == minimal


@settings(max_examples=100)
@given(st.lists(NAMES, min_size=1, max_size=6))
def test_any_set_of_names_does_not_differ_from_itself(names: list[str]) -> None:
    assert not difference(subtrees(names), names)


def test_a_difference_names_both_sides() -> None:
    found = difference(("a.com", "b.com"), ["b.com", "c.com"])
    assert found.missing == ("c.com",)
    assert found.extra == ("a.com",)


@settings(max_examples=200)
@given(st.text(max_size=40))
def test_the_guard_answers_any_text(host: str) -> None:
    guard = MintGuard(permitted=frozenset({"example.com"}), governs=lambda _: True)
    assert guard.allows(host) == (permits({"example.com"}, host))
