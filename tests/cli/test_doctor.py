import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmtrace.certs.stores import System
from llmtrace.cli import doctor as module
from llmtrace.cli.doctor import doctor
from llmtrace.config import Config
from llmtrace.config.digest import digests
from llmtrace.environment.checks import Check, ok
from llmtrace.environment.clients import examine
from llmtrace.environment.gateway import RunServices
from llmtrace.storage.base import Storage


class Started:
    proxy_url = "http://127.0.0.1:9999"

    def __init__(self) -> None:
        self.stopped = 0

    def degraded(self) -> list[str]:
        return []

    def stop(self) -> None:
        self.stopped += 1

    def leave(self) -> None:
        raise AssertionError("nobody else uses it")


@pytest.fixture
def started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Started:
    """A bare machine with curl alone."""
    for name in list(os.environ):
        if name.upper().endswith("_PROXY") or name.startswith(("LLMTRACE_", "SSL_CERT_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LLMTRACE_HOME", str(tmp_path / "home"))
    bare = System(
        platform="none", root=tmp_path, user_home=tmp_path, which=str, is_administrator=True
    )
    monkeypatch.setattr(module, "this_system", lambda: bare)
    monkeypatch.setattr(module, "health", lambda _: None)
    monkeypatch.setattr(module, "check_ports", lambda _: iter([ok("gateway", "ports", "free")]))
    monkeypatch.setattr(
        module, "_clients", lambda _: iter([examine("curl", lambda _: "curl 8.0.1")])
    )
    return Started()


def invoke(started: Started, *words: str) -> Result:
    def start(config: Config, *, upstream_proxy: str | None) -> Started:
        return started

    def opened(_: Config) -> Storage:
        raise AssertionError("the doctor reads no trace")

    services = RunServices(start_gateway=start, open_storage=opened)
    return CliRunner().invoke(doctor, words, obj=services)


def answers(monkeypatch: pytest.MonkeyPatch, code: int, said: str) -> None:
    monkeypatch.setattr(module, "call", lambda _command, _environ: (code, said))


def test_what_is_well_exits_with_0_and_stops_what_it_started(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, 0, "llmtrace\n")
    result = invoke(started)
    assert result.exit_code == 0, result.output
    assert "OK    curl 8.0.1: a call through the gateway was answered by it" in result.stdout
    assert "\x1b" not in result.stdout
    assert started.stopped == 1


def test_a_failure_exits_with_1_and_names_the_fix(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers(monkeypatch, 60, "SSL certificate problem")
    result = invoke(started)
    assert result.exit_code == 1
    assert "FAIL  curl 8.0.1: does not trust the CA" in result.stdout
    assert "fix: start it with 'llmtrace run'" in result.stdout
    assert started.stopped == 1


def test_json_has_one_row_a_check(started: Started, monkeypatch: pytest.MonkeyPatch) -> None:
    result = invoke(started, "--json", "--no-canary")
    rows = json.loads(result.stdout)
    assert {tuple(row) for row in rows} == {tuple(Check.__dataclass_fields__)}
    assert {"versions", "gateway", "ca", "variables", "clients", "storage"} <= {
        row["area"] for row in rows
    }
    assert started.stopped == 0


def test_a_gateway_that_does_not_start_is_a_failed_check(
    started: Started, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("port is taken")

    monkeypatch.setattr(module, "_environ", broken)
    result = invoke(started)
    assert result.exit_code == 1
    assert "FAIL  canary: port is taken" in result.stdout


def test_a_gateway_that_does_not_do_what_the_file_asks_is_a_warning(
    started: Started, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"pid": 7, "configuration": digests(Config())}
    monkeypatch.setattr(module, "health", lambda _: said)
    file = tmp_path / "asked.yaml"
    file.write_text("mode: enforce\n")
    result = invoke(started, "--no-canary", "--config", str(file))
    assert result.exit_code == 0
    assert "WARN  configuration: the running gateway has another" in result.stdout
    assert "fix: stop it (process 7)" in result.stdout
    assert "WARN  configuration" not in invoke(started, "--no-canary").stdout


def test_a_command_that_is_not_installed_is_a_failed_check(started: Started) -> None:
    result = invoke(started, "--", "llmtrace-no-such-program", "-p", "hello")
    assert result.exit_code == 1
    assert "FAIL  llmtrace-no-such-program: there is no such program" in result.stdout
    assert "curl" not in result.stdout
    assert started.stopped == 0


def test_a_misspelt_option_is_no_command(started: Started) -> None:
    result = invoke(started, "--foo", "--", "true")
    assert result.exit_code == 2
    assert "No such option" in result.stderr


def test_a_command_is_judged_by_what_it_runs_on() -> None:
    assert [found.key for found in module._clients(("curl", "-s"))] == ["curl"]
    assert list(module._clients(("llmtrace-no-such-program",))) == []
