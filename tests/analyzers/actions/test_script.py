"""What a script is made of."""

from llmtrace.analyzers.actions.script import HOLE, Redirect, Simple, Word
from llmtrace.analyzers.actions.syntax import read_script


def test_a_redirection_to_a_descriptor_writes_nothing() -> None:
    assert not Redirect(">&", Word("1")).writes
    assert Redirect(">&", Word("/dev/tcp/a/1")).writes
    assert Redirect(">>", Word("f")).writes
    assert not Redirect("<", Word("f")).writes


def test_what_is_fed() -> None:
    assert Simple((), (Redirect("<<<", Word("x")),)).fed == "x"
    assert Simple(()).fed is None


def test_a_word_with_a_hole_is_not_known() -> None:
    assert Word("a").known
    assert not Word(f"a{HOLE}").known


def test_simples_are_also_those_in_substitutions() -> None:
    script = read_script('a "$(b <(c))" > "$(d)"')
    assert {s.words[0].text for s in script.simples()} == {"a", "b", "c", "d"}
