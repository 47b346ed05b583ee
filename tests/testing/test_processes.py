import os
import sys
from pathlib import Path

import pytest

from llmtrace.testing.processes import GatewayProcess, Program, Way
from llmtrace.testing.provider import ScriptedProvider

# Stands in for the command line: serves /health where the configuration says, and prints.
STAND_IN = """
import http.server, json, os, sys
import yaml
if sys.argv[1] == "proxy":
    config = yaml.safe_load(open(sys.argv[3]))
    class Health(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
        def log_message(self, *_):
            pass
    host, port = config["api"]["listen"].split(":")
    http.server.HTTPServer((host, int(port)), Health).serve_forever()
elif sys.argv[1] == "traces":
    run = sys.argv[sys.argv.index("--run") + 1]
    print(json.dumps([{"run": run, "outcome": outcome} for outcome in ("ok", "pending")]))
elif sys.argv[1] == "home":
    print(os.environ["LLMTRACE_HOME"])
else:
    sys.exit("no such thing")
"""


@pytest.fixture
def stand_in(tmp_path: Path, provider: ScriptedProvider) -> GatewayProcess:
    command = [sys.executable, "-c", STAND_IN]
    return GatewayProcess(tmp_path, provider, ["api.openai.com"], command=command)


def test_a_gateway_is_started_asked_and_stopped(stand_in: GatewayProcess) -> None:
    with stand_in as gateway:
        assert gateway.pid
        assert gateway.cli("home").strip() == str(gateway.home)
        assert gateway.traces(run="two", count=1) == [{"run": "two", "outcome": "ok"}]
        assert len(gateway.traces(run="two", count=2, seconds=0)) == 1
        with pytest.raises(RuntimeError, match="llmtrace dance ended with 1: no such thing"):
            gateway.cli("dance")
    assert gateway.stop() == -15


def test_a_gateway_that_ends_at_once_says_why(tmp_path: Path, provider: ScriptedProvider) -> None:
    command = [sys.executable, "-c", "raise SystemExit('bad key')"]
    gateway = GatewayProcess(tmp_path, provider, [], command=command)
    assert gateway.stop() is None
    with pytest.raises(RuntimeError, match="bad key"):
        gateway.start()


def test_the_configuration_maps_hosts_to_the_provider(
    stand_in: GatewayProcess, provider: ScriptedProvider
) -> None:
    text = stand_in.config.read_text()
    assert f"api.openai.com: {provider.url}" in text
    assert "egress: deny" in text


def test_a_way_is_an_environment(tmp_path: Path, provider: ScriptedProvider) -> None:
    way = Way(proxy_url="http://127.0.0.1:1", ca_pem=provider.ca_pem.decode(), folder=tmp_path)
    environment = way.environment("run-1", {"OWN": "kept"})
    assert environment["OWN"] == "kept"
    assert environment["HTTPS_PROXY"].startswith("http://run-1:")
    assert provider.ca_pem in Path(environment["SSL_CERT_FILE"]).read_bytes()


def program(code: str, folder: Path) -> Program:
    return Program([sys.executable, "-u", "-c", code], dict(os.environ), folder=folder)


def test_output_is_read_line_by_line(tmp_path: Path) -> None:
    running = program(
        "import sys, time; print('one'); print('two\\nthree', end=''); sys.exit(3)", tmp_path
    )
    assert running.line(10) == "one"
    assert running.rest(10) == "two\nthree"
    assert (running.line(1), running.end()) == ("", 3)


def test_a_program_that_says_nothing_is_waited_for_no_longer(tmp_path: Path) -> None:
    running = program("import sys, time; sys.stderr.write('oops'); time.sleep(60)", tmp_path)
    assert running.line(0) is None
    assert running.end(0) == -9


def test_errors_are_kept(tmp_path: Path) -> None:
    running = program("raise SystemExit('oops')", tmp_path)
    assert running.end() == 1
    assert running.errors == "oops\n"
