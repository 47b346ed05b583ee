"""Commands inside commands."""

import pytest

from llmtrace.analyzers.actions.script import HOLE
from llmtrace.analyzers.actions.syntax import read_script
from llmtrace.analyzers.actions.unwrap import Call, Nested, known, unwrap


def told(command: str) -> list[str]:
    (simple,) = read_script(command).simples()
    return [
        f"{one.name}{one.line}".strip() if isinstance(one, Call) else f"[{one.language}] {one.text}"
        for one in unwrap(simple)
    ]


@pytest.mark.parametrize(
    ("command", "last"),
    [
        ("sudo -u root -E rm x", "rm x"),
        ("env -u A B=1 C=2 rm x", "rm x"),
        ("timeout -s KILL 5 rm x", "rm x"),
        ("nice -n 5 nohup rm x", "rm x"),
        ("xargs -0 -n 1 rm -rf", "rm -rf"),
        ("busybox rm x", "rm x"),
        ("/usr/bin/rm x", "rm x"),
        ("find . -exec rm -rf {} +", f"rm -rf {HOLE}"),
        ("bash -c 'a b'", "[shell] a b"),
        ("bash -lc 'a b' arg", "[shell] a b"),
        ("sh -e -c a", "[shell] a"),
        ("bash <<< 'a b'", "[shell] a b"),
        ("bash script.sh", "bash script.sh"),
        ("eval a -b", "[shell] a -b"),
        ("su root -c 'a b'", "[shell] a b"),
        ("ssh -p 22 host a b", "[shell] a b"),
        ("ssh host", "ssh host"),
        ("env -S 'a b'", "[shell] a b"),
        ("python3 -c 'a'", "[code] a"),
        ("perl -ne 'a' f", "[code] a"),
        ("node --eval a", "[code] a"),
        ("awk '{a}' f", "[code] {a}"),
        ("cmd.exe /c del x", "[windows] del x"),
        ("powershell -NoProfile -Command a b", "[windows] a b"),
        ("powershell -enc YQBiAA==", "[windows] ab"),
        ("trap 'a b' EXIT", "[shell] a b"),
    ],
)
def test_the_innermost(command: str, last: str) -> None:
    found = told(command)
    assert last in found[-2:]


def test_wrappers_are_bounded() -> None:
    assert len(told("sudo " * 50 + "rm")) < 20


def test_operands() -> None:
    (simple,) = read_script("rm -r a -- -b").simples()
    (call,) = [one for one in unwrap(simple) if isinstance(one, Call)]
    assert [word.text for word in call.operands()] == ["a", "-b"]


def test_lists_of_programs() -> None:
    assert known("shells", "bash")
    assert not known("shells", "ls")
    assert Nested("a", "code").language == "code"
