import json
import os
import subprocess
from pathlib import Path

import pytest
from click.testing import CliRunner

from llmtrace.cli.env import env
from llmtrace.environment.installation import user
from llmtrace.environment.render import SHELLS


@pytest.fixture(autouse=True)
def own_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().endswith("_PROXY"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LLMTRACE_HOME", str(tmp_path / "my home"))


def test_a_shell_that_evaluates_it_has_the_block() -> None:
    printed = CliRunner().invoke(env, ["--shell", "sh", "--no-java"]).stdout
    done = subprocess.run(  # noqa: S603  what was printed
        ("/bin/sh", "-c", f'{printed}\ntest -f "$SSL_CERT_FILE" && echo "$HTTPS_PROXY"'),
        capture_output=True,
        check=True,
        timeout=30,
    )
    assert done.stdout == b"http://127.0.0.1:8642\n"


@pytest.mark.parametrize("shell", SHELLS)
def test_each_form_is_printed_alone_on_standard_output(shell: str) -> None:
    CliRunner().invoke(env, ["--shell", "json"])  # makes the CA, and says so
    result = CliRunner().invoke(env, ["--shell", shell, "--no-java"])
    assert result.exit_code == 0, result.output
    assert "HTTPS_PROXY" in result.stdout
    assert "llmtrace: " not in result.stdout


def test_the_users_own_shell_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    for shell, start in (("/usr/bin/fish", "set -gx"), ("/bin/zsh", "export"), ("", "export")):
        monkeypatch.setenv("SHELL", shell)
        assert CliRunner().invoke(env, ["--no-java"]).stdout.startswith(start)


def test_an_address_and_a_run_can_be_given() -> None:
    result = CliRunner().invoke(
        env, ["--shell", "json", "--url", "http://gateway:1234", "--run", "ci", "--no-java"]
    )
    block = json.loads(result.stdout)
    assert block["HTTPS_PROXY"].startswith("http://ci:")
    assert block["HTTPS_PROXY"].endswith("@gateway:1234")
    assert block["LLMTRACE_RUN_ID"] == "ci"


@pytest.mark.parametrize(
    "url", ["gateway:1234", "https://x", "http://", "", "http://127.0.0.1:99999", "http://h:x"]
)
def test_an_address_that_is_none_is_refused(url: str) -> None:
    result = CliRunner().invoke(env, ["--url", url or "x"])
    assert result.exit_code == 2
    assert "is not http://host:port" in result.stderr


def test_a_container_gets_paths_and_an_address_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NODE_EXTRA_CA_CERTS", "/host/only.pem")
    result = CliRunner().invoke(env, ["--shell", "docker"])
    assert "-e HTTPS_PROXY=http://host.docker.internal:8642 \\\n" in result.stdout
    assert "-e NODE_EXTRA_CA_CERTS=/etc/llmtrace/ca.pem \\\n" in result.stdout
    assert f"-v '{tmp_path}/my home/trust':/etc/llmtrace:ro" in result.stdout
    assert "--add-host host.docker.internal:host-gateway" in result.stdout
    assert "JAVA_TOOL_OPTIONS" not in result.stdout


def test_a_ca_that_is_broken_is_one_line(tmp_path: Path) -> None:
    CliRunner().invoke(env, [])
    (tmp_path / "my home/ca/mitmproxy-ca.pem").write_text("broken")
    result = CliRunner().invoke(env, [])
    assert result.exit_code == 1
    assert "llmtrace ca rotate" in result.stderr


def test_a_key_is_sent_as_the_password_of_the_proxy() -> None:
    result = CliRunner(env={"LLMTRACE_KEY": "llmt_x"}).invoke(
        env, ["--shell", "json", "--run", "bot", "--no-java"]
    )
    assert json.loads(result.stdout)["HTTPS_PROXY"] == "http://bot:llmt_x@127.0.0.1:8642"
    named = CliRunner(env={"LLMTRACE_KEY": "llmt_x"}).invoke(env, ["--shell", "json", "--no-java"])
    assert f"http://{user()}:llmt_x@" in named.stdout


def test_who_forgot_the_key_that_is_asked_for_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTRACE_AUTH_ENABLED", "true")
    result = CliRunner().invoke(env, ["--shell", "json", "--no-java"])
    assert "llmtrace keys create" in result.stderr
