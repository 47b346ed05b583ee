"""What pipelines print whose words tell it."""

import base64

import pytest

from llmtrace.analyzers.actions.decode import MAX_OUTPUT, output
from llmtrace.analyzers.actions.script import HOLE
from llmtrace.analyzers.actions.syntax import read_script


def printed(command: str) -> str | None:
    (pipeline,) = read_script(command).pipelines
    return output(pipeline)


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("echo hi", "hi"),
        ("echo -n a b", "a b"),
        (r"echo -e '\x72\x6d'", "rm"),
        ("printf '%s-%s' a b", "a-b"),
        (r"printf '\162\155'", "rm"),
        ("echo cm0= | base64 -d", "rm"),
        ("echo cm0 | base64 --decode", "rm"),
        ("base64 -d <<< cm0=", "rm"),
        ("echo 726d | xxd -r -p", "rm"),
        ("echo mr | rev", "rm"),
        ("echo ez | tr 'A-Za-z' 'N-ZA-Mn-za-m'", "rm"),
        ("echo ab | tr ab rm", "rm"),
        ("echo cm0= | openssl base64 -d", "rm"),
        ("echo Y20wPQ== | base64 -d | base64 -d", "rm"),
        ("which rm", "rm"),
        ("ls -la /etc", "/etc"),
        ("find /etc -type f", "/etc"),
        ("find . -name x", HOLE),
        ("echo $UNKNOWN", None),
        ("cat x | base64 -d", None),
        ("echo a | wc", None),
        ("echo a | base64", None),
    ],
)
def test_output(command: str, told: str | None) -> None:
    assert printed(command) == told


def test_what_inflates_is_bounded() -> None:
    import gzip

    bomb = base64.b64encode(gzip.compress(b"a" * (MAX_OUTPUT * 4))).decode()
    assert len(printed(f"echo {bomb} | base64 -d | gunzip") or "") == MAX_OUTPUT
