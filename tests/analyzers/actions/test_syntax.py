"""Scripts as the commands that they run."""

import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.actions.budget import Budget
from llmtrace.analyzers.actions.parsing import parse
from llmtrace.analyzers.actions.script import HOLE, Script
from llmtrace.analyzers.actions.syntax import MAX_PIPES, MAX_VALUE, read_script


def lines(script: Script) -> list[str]:
    return [
        " | ".join(
            "; ".join(" ".join(word.text for word in simple.words) for simple in stage)
            for stage in pipeline.stages
        )
        for pipeline in script.pipelines
    ]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a 'b c' \"d e\" f\\ g", ["a b c d e f g"]),
        ("a | b | c", ["a | b | c"]),
        ("a && b || c; d & e", ["a", "b", "c", "d", "e"]),
        ("(a; b) | c", ["a", "b", "a; b | c"]),
        ("{ a; } | b", ["a", "a | b"]),
        ("X=1 a", ["a"]),
        ("x=r; y=m; $x$y", ["rm"]),
        ("x='a b'; $x", ["a b"]),
        ("x='a b'; \"$x\"", ["a b"]),
        ("for i in 1 2; do a $i; done", ["a 1 2"]),
        ("while a; do b; done", ["a", "b"]),
        ("case x in y) a;; esac", ["a"]),
        ("f() { a; }", ["a"]),
        ("export A=1 B", ["export A=1 B"]),
        ("a <<E | b\nx\nE", ["a | b"]),
        ("a <<E && b\nx\nE", ["b", "a"]),
        ("a # b", ["a"]),
        ("a \\\n b", ["a b"]),
        ("a $(echo b c) d", ["a b c d"]),
        ("a $(b) d", [f"a {HOLE} d"]),
        ("a $((1+1))", [f"a {HOLE}"]),
        ("$'\\x61'", ["a"]),
        ("a{1,2}", ["a1 a2"]),
        ("", []),
    ],
)
def test_commands(text: str, told: list[str]) -> None:
    assert lines(read_script(text)) == told


def test_words_keep_the_scripts_in_them() -> None:
    (pipeline,) = read_script('a "$(b | c)"').pipelines
    (script,) = pipeline.stages[0][0].words[1].scripts
    assert lines(script) == ["b | c"]


def test_what_a_variable_was_made_by_is_known() -> None:
    script = read_script('X=$(curl x); eval "$X"')
    assert [bool(s.words[-1].scripts) for p in script.pipelines for s in p.stages[0]] == [
        True,
        True,
    ]


def test_the_folder_is_followed() -> None:
    script = read_script("cd /a; x; cd b && y; cd - ; z")
    assert [s.cwd for s in script.simples() if s.words[0].text in "xyz"] == ["/a", "/a/b", ""]


def test_a_function_that_starts_itself_twice() -> None:
    assert read_script(":(){ :|:& };:").recursive
    assert not read_script("f(){ f; }; f").recursive


def test_redirections_belong_to_the_last_stage() -> None:
    (pipeline,) = read_script("a | b > x").pipelines
    assert [len(stage[0].redirects) for stage in pipeline.stages] == [0, 1]


def test_a_heredoc_is_fed_to_its_command() -> None:
    (simple,) = read_script("sh <<'E'\nrm x\nE").simples()
    assert (simple.fed or "").strip() == "rm x"


def test_what_is_over_a_bound_is_told() -> None:
    assert not read_script("a|" * (MAX_PIPES + 1)).complete
    assert read_script("a <<E\n" + "a|" * (MAX_PIPES + 1) + "\nE\n").complete
    assert not read_script("a " * 100, Budget(nodes=10)).complete
    assert not read_script("$(" * 60 + "a" + ")" * 60).complete
    assert not read_script(f"x={'a' * (MAX_VALUE + 1)}; $x").complete
    assert not read_script("for x in " + "a " * MAX_VALUE + "; do $x; done").complete
    assert not read_script('x=aaaaaaaaaa; b "$x$x$x"', Budget(grown=15)).complete


def test_variables_do_not_grow_without_end() -> None:
    script = read_script("a=xxxxxxxx;" + "a=$a$a;" * 200 + "b $a")
    assert len(list(script.simples())[-1].words[1].text) <= 1024


def test_each_thread_parses_for_itself() -> None:
    seen: list[bool] = []

    def read() -> None:
        seen.append(all(lines(read_script("a | b")) == ["a | b"] for _ in range(50)))

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen == [True] * 4
    assert parse("a", Budget())[0].type == "program"


def test_parsing_ends_with_its_time() -> None:
    ticks = iter(range(1000))
    hurried = read_script("a;\n" * 1000 + "b", Budget(seconds=3, clock=lambda: float(next(ticks))))
    assert hurried.broken
    assert not hurried.complete
    assert hurried.pipelines
    assert read_script("a;\n" * 1000 + "b", Budget(clock=lambda: 0.0)).complete


@pytest.mark.parametrize("letter", ["\x80", "ÿ", "\u1b80", "\U0010683a", "\ufffd"])
def test_a_letter_that_is_not_ascii_is_read_as_one(letter: str) -> None:
    """The scanner of the grammar dies of ``{`` before such a letter, and Python with it."""
    source = f"a{letter} {{{letter}}} {letter} # {{{letter}"
    (simple,) = read_script(source).simples()
    assert [word.text for word in simple.words] == [f"a{letter}", f"{{{letter}}}", letter]
    assert source[simple.start : simple.end] == f"a{letter} {{{letter}}} {letter}"


@given(st.text(max_size=120))
@settings(max_examples=100, deadline=None)
def test_no_text_raises(text: str) -> None:
    read_script(text)
