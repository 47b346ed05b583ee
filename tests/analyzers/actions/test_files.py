"""Which files commands touch."""

import pytest

from llmtrace.analyzers.actions import files
from llmtrace.analyzers.actions.syntax import read_script
from llmtrace.analyzers.actions.unwrap import calls
from llmtrace.analyzers.actions.values import Access

R, W = Access.READ, Access.WRITE


@pytest.mark.parametrize(
    ("command", "touches"),
    [
        ("cat a b", [("a", R), ("b", R)]),
        ("cp a b", [("a", R), ("b", W)]),
        ("rm -f a", [("a", W)]),
        ("tee -a x", [("x", W)]),
        ("grep -r pat dir", [("dir", R)]),
        ("grep -e pat dir", [("dir", R)]),
        ("grep -q pat f", []),
        ("sed -i s/a/b/ f", [("f", W)]),
        ("sed s/a/b/ f", [("f", R)]),
        ("dd if=a of=b", [("a", R), ("b", W)]),
        ("echo ~/.ssh/id_rsa", []),
        ("ssh -i key host", []),
        ("curl -o out https://a.example/x", [("https://a.example/x", R), ("out", W)]),
        ("curl -d @f https://a.example", [("https://a.example", R), ("f", R)]),
    ],
)
def test_touched(command: str, touches: list[files.Touch]) -> None:
    (simple,) = read_script(command).simples()
    assert sorted(set(files.touched(calls(simple)[0]))) == sorted(touches)


def test_redirected() -> None:
    (simple,) = read_script("a < in > out 2>> log 2>&1").simples()
    assert list(files.redirected(simple)) == [("in", R), ("out", W), ("log", W)]


@pytest.mark.parametrize(
    ("command", "secret"),
    [
        ("cat ~/.ssh/id_rsa", True),
        ("env", True),
        ("env FOO=1", False),
        ("tar cz ~/.aws", True),
        ("cat README.md", False),
        ("scp -i ~/.ssh/id_rsa a host:", False),
    ],
)
def test_reads_secret(command: str, secret: bool) -> None:
    (simple,) = read_script(command).simples()
    assert files.reads_secret(calls(simple)[0]) is secret


def test_paths_in_a_program() -> None:
    assert files.of_code("print(open('/etc/shadow').read())") == [("/etc/shadow", R)]
    assert files.of_code("print('/etc/shadow')") == []
