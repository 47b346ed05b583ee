"""What a deletion is aimed at."""

import pytest

from llmtrace.analyzers.actions.deletes import aim, of_call
from llmtrace.analyzers.actions.script import HOLE
from llmtrace.analyzers.actions.syntax import read_script
from llmtrace.analyzers.actions.unwrap import calls


@pytest.mark.parametrize(
    ("target", "rule"),
    [
        ("/", "delete.root"),
        ("/*", "delete.root"),
        ("/.", "delete.root"),
        ("~", "delete.root"),
        ("~/*", "delete.root"),
        ("/home/me", "delete.root"),
        ("/etc", "delete.root"),
        ("/etc/nginx", "delete.root"),
        ("/usr/lib/x", "delete.root"),
        ("C:\\", "delete.root"),
        ("c:/Windows/System32", "delete.root"),
        ("/root/", "delete.root"),
        ("..", "delete.parent"),
        ("../../*", "delete.parent"),
        ("~/.ssh", "delete.personal"),
        (".", "delete.here"),
        ("*", "delete.here"),
        (".git", "delete.here"),
        (f"{HOLE}/", "delete.variable"),
        (f"{HOLE}/*", "delete.variable"),
        (f"{HOLE}/build", ""),
        ("node_modules", ""),
        ("/tmp/x", ""),
        ("/tmp/*", ""),
        ("../build", ""),
        ("~/work/app/dist", ""),
        ("/usr/local/lib/x", ""),
        ("/work", ""),
        ("*.o", ""),
    ],
)
def test_aim(target: str, rule: str) -> None:
    assert aim(target) == rule


@pytest.mark.parametrize(
    ("target", "cwd", "rule"),
    [
        ("*", "/", "delete.root"),
        (".", "~", "delete.root"),
        ("..", "/home/me/x", "delete.root"),
        ("x", "/srv/a", ""),
    ],
)
def test_aim_from_a_folder(target: str, cwd: str, rule: str) -> None:
    assert aim(target, cwd) == rule


@pytest.mark.parametrize(
    ("command", "rules"),
    [
        ("rm /", []),
        ("rm -f /", []),
        ("rm --recursive /", ["delete.root"]),
        ("find / -name x -delete", ["delete.filtered"]),
        ("find . -delete", []),
        ("chmod 777 a", []),
        ("chmod -R 755 /", []),
        ("chmod -R 777 /", ["permissions.open"]),
        ("chown me /etc", []),
        ("mv a /dev/null", []),
    ],
)
def test_of_call(command: str, rules: list[str]) -> None:
    (simple,) = read_script(command).simples()
    assert list(of_call(calls(simple)[0])) == rules
