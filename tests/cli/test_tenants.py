import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result

from llmtrace.environment.program import program

type Run = Callable[..., Result]


def test_tenants_are_created_listed_shown_and_deleted(run: Run) -> None:
    done = run("tenants", "create", "acme", "--name", "ACME Inc.", "--plan", "team", "--json")
    row = json.loads(done.stdout)
    assert {**row, "created_at": ""} == {
        "tenant": "acme",
        "name": "ACME Inc.",
        "plan": "team",
        "created_at": "",
    }
    assert json.loads(run("tenants", "list", "--json").stdout) == [row]
    assert json.loads(run("tenants", "show", "acme", "--json").stdout) == {**row, "keys": 0}
    assert "ACME Inc." in run("tenants", "list").stdout
    assert "keys" in run("tenants", "show", "acme").stdout
    assert json.loads(run("tenants", "delete", "acme", "--json").stdout)["deleted"]
    assert run("tenants", "list").stderr == "there are no tenants yet\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("create", "a b"), "'a b' is no tenant"),
        (
            ("show", "nobody"),
            f"there is no tenant 'nobody'; '{program()} tenants create' makes one",
        ),
        (("delete", "nobody"), "there is no tenant 'nobody'"),
    ],
    ids=["bad-name", "show-unknown", "delete-unknown"],
)
def test_what_cannot_be_done_says_why(run: Run, words: tuple[str, ...], said: str) -> None:
    done = run("tenants", *words)
    assert done.exit_code == 1
    assert said in done.stderr
    assert done.stdout == ""


def test_what_people_are_told_is_plain(run: Run) -> None:
    assert run("tenants", "create", "acme").stdout.startswith("created tenant acme")
    assert "already" in run("tenants", "create", "acme").stderr
    assert run("tenants", "delete", "acme").stdout == "deleted tenant acme\n"


def test_a_folder_that_cannot_be_made_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    done = run("tenants", "list", LLMTRACE_HOME=str(tmp_path / "file" / "home"))
    assert done.exit_code == 1
    assert "file/home" in done.stderr
