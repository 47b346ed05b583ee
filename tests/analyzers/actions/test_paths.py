"""Paths as systems read them, and which are sensitive."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from llmtrace.analyzers.actions.paths import outside, resolve, sensitive, shelf
from llmtrace.analyzers.actions.values import Access


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/etc/../etc/./shadow", "/etc/shadow"),
        ("/etc//shadow", "/etc/shadow"),
        ("~root/.ssh/id_rsa", "~/.ssh/id_rsa"),
        ("/home/x/.ssh/id_rsa", "~/.ssh/id_rsa"),
        ("/Users/x/.ssh/id_rsa", "~/.ssh/id_rsa"),
        ("$HOME/.ssh/id_rsa", "~/.ssh/id_rsa"),
        ("file:///etc/shadow", "/etc/shadow"),
        ("file://localhost/etc/shadow", "/etc/shadow"),
        ("file:///etc/%73hadow", "/etc/shadow"),
        ("file:///C:/Users/x/.ssh/id_rsa", "~/.ssh/id_rsa"),
        ("C:\\Users\\x\\.ssh\\ID_RSA", "~/.ssh/id_rsa"),
        ("\\\\?\\C:\\Users\\x\\.ssh\\id_rsa", "~/.ssh/id_rsa"),
        ("%USERPROFILE%\\.aws\\credentials", "~/.aws/credentials"),
        ("$env:USERPROFILE\\.aws\\credentials", "~/.aws/credentials"),
        ("C:\\x\\.env::$DATA", "c:/x/.env"),
        ("/mnt/c/Users/x/.ssh/id_rsa", "~/.ssh/id_rsa"),
        ("/proc/self/root/etc/shadow", "/etc/shadow"),
        ("/private/etc/sudoers", "/etc/sudoers"),
        ("a/../../b", "../b"),
        ("", "."),
        ("/..", "/"),
        ("~/..", "/home"),
    ],
)
def test_resolve(path: str, told: str) -> None:
    assert resolve(path) == told


def test_every_sample_is_of_its_rule() -> None:
    for row in shelf().rows:
        access = Access.READ if row.read else Access.WRITE
        for sample in row.samples:
            assert row.id in [rule for rule, _ in sensitive(sample, access)], sample


@pytest.mark.parametrize(
    "path",
    [
        "src/main.py", ".env.example", ".env.sample", "id_rsa.pub", "~/.gitconfig", "~/.ssh/config",
        "cert.pem", "ca-bundle.pem", "process.env", "README.md", "/etc/hosts", "/usr/bin/python",
        "package.json", "key.py", "*", "./*", "*.py", "**/*.ts", "public.key", "~/.cache/x",
        "/dev/null",
    ],
)  # fmt: skip
def test_what_anybody_may_read(path: str) -> None:
    assert list(sensitive(path, Access.READ)) == []


@pytest.mark.parametrize("path", ["/etc/sh?dow", "/etc/sh*", "/e??/shadow", "~/.ss?/id_rsa"])
def test_wildcards_are_what_they_could_match(path: str) -> None:
    assert list(sensitive(path, Access.READ))


def test_a_listing_reads_nothing() -> None:
    assert list(sensitive("/etc/shadow", Access.LIST)) == []


def test_a_relative_path_is_seen_from_its_folder() -> None:
    assert [rule for rule, _ in sensitive("shadow", Access.READ, "/etc")] == ["file.shadow"]


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/work/a", False),
        ("/work", False),
        ("/work/../x", True),
        ("/workspace/a", True),
        ("a/b", False),
        ("../a", True),
        ("~/a", True),
        ("~/proj/a", False),
        ("/home/me/proj/a", False),
        ("/tmp/a", False),
        ("/dev/null", False),
        ("C:\\x", True),
    ],
)
def test_outside(path: str, told: bool) -> None:
    assert outside(path, ["/work", "/home/me/proj"]) is told


@given(st.text(alphabet="~/.\\*?[]$%{}:cC abé\x00", max_size=30))
@settings(max_examples=100, deadline=None)
def test_no_path_raises_and_resolving_twice_is_resolving_once(path: str) -> None:
    list(sensitive(path, Access.READ))
    outside(path, [path])
    assert resolve(path).count("/./") == 0
