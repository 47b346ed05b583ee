import shutil
import subprocess
import sys

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from llmtrace.environment.render import SHELLS, USAGE, render

VALUES = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=30)
BLOCKS = st.lists(VALUES, min_size=8, max_size=8).map(
    lambda values: {f"V{i}": value for i, value in enumerate(values)}
)
PRINT = (
    "import os, sys; names = sys.argv[1:];"
    "sys.stdout.buffer.write(b'\\0'.join(os.environb[n.encode()] for n in names))"
)
PROGRAMS = {"bash": "bash", "sh": "sh", "zsh": "zsh", "fish": "fish"}
INSTALLED = [shell for shell, program in PROGRAMS.items() if shutil.which(program)]


@pytest.mark.parametrize("shell", INSTALLED)
@settings(max_examples=25, deadline=None)
@given(block=BLOCKS)
@example(block={"V": "=0"})  # zsh takes a bare "=0" for a program's path
@example(block={"V": "~'\"$(id)`"})
def test_any_value_comes_through_a_real_shell(shell: str, block: dict[str, str]) -> None:
    names = " ".join(block)
    script = f"{render(block, shell)}exec '{sys.executable}' -S -E -c \"$PROGRAM\" {names}\n"
    done = subprocess.run(  # noqa: S603  a shell of the table above
        (PROGRAMS[shell], "-c", script),
        env={"PATH": "/usr/bin:/bin", "PROGRAM": PRINT, "HOME": "/nonexistent"},
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert done.stdout.decode() == "\0".join(block.values())


def powershell_reads(quoted: str) -> str:
    """Undo PowerShell's rule: within single quotes two quotes of any kind stand for one."""
    read, rest = "", list(quoted)
    while rest:
        character = rest.pop(0)
        if character in "'\u2018\u2019\u201a\u201b":
            assert rest.pop(0) == character, "the quote would end the string"
        read += character
    return read


@settings(max_examples=100)
@given(VALUES | st.text("'\u2018\u2019\u201a\u201b x", max_size=9))
def test_powershell_reads_any_value_back(value: str) -> None:
    row = render({"A": value}, "powershell")
    assert row.startswith("$env:A = '")
    assert row.endswith("'\n")
    assert powershell_reads(row[len("$env:A = '") : -2]) == value


@pytest.mark.parametrize(
    ("shell", "value", "expected"),
    [
        ("powershell", "it's \u2019", "$env:A = 'it''s \u2019\u2019'\n"),
        ("fish", "it's \\n", "set -gx A 'it\\'s \\\\n'\n"),
        ("dotenv", "a b#c$d", "A='a b#c$d'\n"),
        ("dotenv", "it's\n\"x\\", 'A="it\'s\\n\\"x\\\\"\n'),
        ("docker", "a b", "-e 'A=a b' \\\n"),
        ("docker-env-file", "a b'", "A=a b'\n"),
        ("github-actions", "a b", "A=a b\n"),
    ],
)
def test_each_is_quoted_its_way(shell: str, value: str, expected: str) -> None:
    assert render({"A": value}, shell) == expected


def test_a_build_service_gets_lines_between_marks_that_nobody_can_guess() -> None:
    text = render({"A": "x\nB=evil"}, "github-actions")
    mark = text.splitlines()[0].removeprefix("A<<")
    assert text == f"A<<{mark}\nx\nB=evil\n{mark}\n"
    assert text != render({"A": "x\nB=evil"}, "github-actions")


@pytest.mark.parametrize(
    ("name", "value", "shell"),
    [
        ("A B", "x", "bash"),
        ("A;rm", "x", "bash"),
        ("A", "a\0b", "sh"),
        ("A", "a\nb", "docker-env-file"),
    ],
)
def test_what_cannot_be_written_is_refused(name: str, value: str, shell: str) -> None:
    with pytest.raises(ValueError, match=r"variable|line break"):
        render({name: value}, shell)


def test_each_shell_says_how_it_is_used() -> None:
    assert SHELLS.keys() == USAGE.keys()
