"""Keys as people use them: a gateway that runs, the command line beside it, and curl."""

import json
import shutil
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from llmtrace.testing.processes import GatewayProcess, llmtrace_command
from llmtrace.testing.provider import ScriptedProvider

pytestmark = pytest.mark.slow

URL = "https://api.openai.com/v1/chat/completions"
CHAT = json.dumps({"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello."}]})


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("gateway")
    with (
        ScriptedProvider() as provider,
        GatewayProcess(
            folder, provider, ["api.openai.com"], settings={"auth": {"enabled": True}}
        ) as running,
    ):
        (folder / "ca.pem").write_text(running.cli("ca", "export"))
        yield running


def curl(gateway: GatewayProcess, *words: str) -> tuple[int, str]:
    """Call a provider through the proxy; return the status of the answer, or of the CONNECT."""
    program = shutil.which("curl")
    assert program
    ca = gateway.config.parent / "ca.pem"
    done = subprocess.run(  # noqa: S603  our own words
        [
            *(program, "-sS", "-m", "10", "--cacert", str(ca)),
            *("-w", "\n%{http_connect} %{response_code}"),
            *("-H", "content-type: application/json", "-d", CHAT, *words, URL),
        ],
        env={"no_proxy": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    connect, status = done.stdout.rsplit("\n", 1)[1].split()
    return int(status) or int(connect), done.stdout + done.stderr


def made(gateway: GatewayProcess, *words: str) -> dict[str, Any]:
    config = str(gateway.config)
    return dict(json.loads(gateway.cli("keys", "create", "--json", "-c", config, *words)))


def keys(gateway: GatewayProcess) -> list[Mapping[str, Any]]:
    return list(
        json.loads(gateway.cli("keys", "list", "--all", "--json", "-c", str(gateway.config)))
    )


def test_curl_is_let_in_with_a_key_at_once_or_when_it_is_asked(gateway: GatewayProcess) -> None:
    gateway.cli("tenants", "create", "acme", "-c", str(gateway.config))
    token = made(gateway, "--tenant", "acme")["key"]
    proxy = ["-x", gateway.proxy_url]
    assert curl(gateway, *proxy)[0] == 407
    for user in (f"bot:{token}", f"other:{token}"):
        for when in ([], ["--proxy-anyauth"]):
            status, said = curl(gateway, *proxy, "--proxy-user", user, *when)
            assert (status, token in said) == (200, False)
    rows = gateway.traces(count=4)
    assert {(row["tenant"], row["agent"]) for row in rows} == {("acme", "bot"), ("acme", "other")}
    assert {row["key_id"] for row in rows} == {token[5:17]}


def test_a_key_is_revoked_while_the_gateway_runs(gateway: GatewayProcess) -> None:
    key = made(gateway)
    login = ["-x", gateway.proxy_url.replace("://", f"://bot:{key['key']}@")]
    assert curl(gateway, *login)[0] == 200
    gateway.cli("keys", "revoke", key["id"], "-c", str(gateway.config))
    time.sleep(2)
    assert curl(gateway, *login)[0] == 407


def test_a_key_is_rotated_while_calls_run_and_none_of_them_fails(gateway: GatewayProcess) -> None:
    key = made(gateway)
    config = str(gateway.config)
    tokens = [str(key["key"])]
    is_over = threading.Event()

    def calling() -> list[int]:
        statuses = []
        while not is_over.is_set():
            login = gateway.proxy_url.replace("://", f"://bot:{tokens[-1]}@")
            statuses.append(curl(gateway, "-x", login)[0])
        return statuses

    with ThreadPoolExecutor(3) as pool:
        callers = [pool.submit(calling) for _ in range(3)]
        for _ in range(3):
            words = ["keys", "rotate", key["id"], "--grace", "1m", "--json", "-c", config]
            tokens.append(json.loads(gateway.cli(*words))["key"])
        is_over.set()
    statuses = [status for caller in callers for status in caller.result()]
    assert set(statuses) == {200}
    first = gateway.proxy_url.replace("://", f"://bot:{tokens[0]}@")
    assert curl(gateway, "-x", first)[0] == 407, "the grace is for the secret before"


def test_a_run_has_a_key_of_its_own_that_ends_with_it(gateway: GatewayProcess) -> None:
    before = {key["id"] for key in keys(gateway)}
    script = f"curl -sS -f -m 10 -o /dev/null -d '{CHAT}' {URL}"
    words = ["run", "--no-java", "-c", str(gateway.config), "--", "sh", "-c", script]
    gateway.cli(*words)
    (own,) = [key for key in keys(gateway) if key["id"] not in before]
    assert own["state"] == "revoked"
    (row,) = gateway.traces(count=1, run=own["name"])
    assert (row["tenant"], row["agent"], row["key_id"]) == ("default", "curl", own["id"])


def test_commands_work_while_no_gateway_runs(tmp_path: Path) -> None:
    command, home = llmtrace_command(), {"LLMTRACE_HOME": str(tmp_path / "home"), "PATH": ""}

    def run(*words: str) -> Any:
        done = subprocess.run(  # noqa: S603  our own words
            [*command, *words, "--json"], env=home, capture_output=True, text=True, check=True
        )
        return json.loads(done.stdout)

    run("tenants", "create", "acme")
    key = run("keys", "create", "--tenant", "acme")
    assert run("keys", "revoke", key["id"])["state"] == "revoked"
    assert [row["tenant"] for row in run("tenants", "list")] == ["acme"]
    kept = b"".join(file.read_bytes() for file in tmp_path.rglob("*") if file.is_file())
    assert key["id"].encode() in kept
    assert key["key"][-32:].encode() not in kept
