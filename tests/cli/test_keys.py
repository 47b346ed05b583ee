import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

type Run = Callable[..., Result]


def made(run: Run, *words: str) -> dict[str, Any]:
    done = run("keys", "create", "--json", *words)
    assert done.exit_code == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_the_key_alone_is_on_standard_output(run: Run) -> None:
    done = run("keys", "create", "--agent", "bot")
    key, _, rest = done.stdout.partition("\n")
    assert (key[:5], len(key), rest) == ("llmt_", 50, "")
    assert "agent bot" in done.stderr
    assert key not in done.stderr


def test_a_key_is_never_shown_again(run: Run, home: Path) -> None:
    key = made(run, "--name", "for tests", "--role", "viewer", "--expires", "90d")
    assert (key["role"], key["state"], key["tenant"]) == ("viewer", "works", "default")
    secret = key.pop("key")[-32:]
    assert json.loads(run("keys", "list", "--json").stdout) == [key]
    assert "for tests" in run("keys", "list").stdout
    kept = b"".join(file.read_bytes() for file in home.rglob("*") if file.is_file())
    assert secret.encode() not in kept


def test_a_key_is_rotated_and_revoked(run: Run) -> None:
    key = made(run)
    done = run("keys", "rotate", key["id"], "--grace", "1h")
    assert done.exit_code == 0
    assert done.stdout.strip() not in ("", key["key"])
    assert "the old key is good until" in done.stderr
    assert run("keys", "revoke", key["id"]).stdout.startswith(f"revoked key {key['id']}")
    assert run("keys", "list").stderr == "no keys match\n"
    (row,) = json.loads(run("keys", "list", "--all", "--json").stdout)
    assert row["state"] == "revoked"
    assert json.loads(run("keys", "revoke", key["id"], "--json").stdout) == row
    assert run("keys", "rotate", key["id"]).exit_code == 1


def test_keys_are_listed_by_tenant(run: Run) -> None:
    run("tenants", "create", "acme")
    ids = {tenant: made(run, "--tenant", tenant)["id"] for tenant in ("acme", "default")}
    for tenant, key_id in ids.items():
        rows = json.loads(run("keys", "list", "--tenant", tenant, "--json").stdout)
        assert [row["id"] for row in rows] == [key_id]


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("create", "--tenant", "nobody"), 1, "there is no tenant 'nobody'"),
        (("create", "--agent", "a b"), 1, "'a b' is no agent"),
        (("create", "--role", "root"), 2, "'root' is not one of"),
        (("create", "--expires", "never"), 2, "neither ISO 8601 nor like"),
        (("create", "--expires", "2020-01-01"), 1, "which is over"),
        (("revoke", "nokey"), 1, "there is no key 'nokey'"),
        (("rotate", "nokey", "--grace", "x"), 2, "not like 30s"),
    ],
    ids=["tenant", "agent", "role", "expiry", "past", "unknown", "grace"],
)
def test_what_cannot_be_done_says_why(
    run: Run, words: tuple[str, ...], code: int, said: str
) -> None:
    done = run("keys", *words)
    assert (done.exit_code, done.stdout) == (code, "")
    assert said in done.stderr
