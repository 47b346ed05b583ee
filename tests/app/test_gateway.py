"""A gateway as a whole: real processes, real ports, real signals."""

import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from llmtrace.app.gateway import ANY_PORT, StartedGateway, start_gateway
from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.certs.authority import CertificateAuthority
from llmtrace.config import Config, load
from llmtrace.config.digest import digests
from llmtrace.domain.traces import Outcome
from llmtrace.environment.home import Home
from llmtrace.environment.sharing import Sharing
from llmtrace.storage.base import TraceQuery
from llmtrace.storage.recorder import catch_up
from llmtrace.storage.registry import close
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script

pytestmark = pytest.mark.slow

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture(scope="module")
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


@pytest.fixture
def config(provider: ScriptedProvider, tmp_path: Path) -> Config:
    provider.clear()
    return load(
        environ={},
        overrides={
            "listen": ANY_PORT,
            "reverse.listen": ANY_PORT,
            "api.listen": ANY_PORT,
            "workers": 2,
            "upstreams": {"api.openai.com": provider.url},
            "upstream_ca": str(provider.write_ca(tmp_path)),
        },
    )


@pytest.fixture
def start(config: Config, tmp_path: Path) -> Iterator[Callable[[], StartedGateway]]:
    started: list[StartedGateway] = []

    def begin() -> StartedGateway:
        started.append(start_gateway(config, at=Home(tmp_path / "home")))
        return started[-1]

    yield begin
    for gateway in started:
        gateway.stop()


def health(gateway: StartedGateway) -> dict[str, object]:
    answer = httpx2.get(f"http://{gateway.addresses.api}/health", trust_env=False)
    return {"status_code": answer.status_code, **answer.json()}


def client(gateway: StartedGateway, tmp_path: Path) -> httpx2.Client:
    pem = CertificateAuthority.load(tmp_path / "home" / "ca").export_pem()
    return httpx2.Client(
        proxy=gateway.proxy_url,
        verify=ssl.create_default_context(cadata=pem),
        trust_env=False,
        timeout=20,
    )


def outcomes(config: Config, tmp_path: Path) -> dict[str, Outcome]:
    settings = Settings(config=config, home=Home(tmp_path / "home"))
    storage = open_storage(settings)
    try:
        catch_up(settings.spool, storage)
        found = storage.traces.query(TraceQuery(limit=1000))
        return {trace.trace_id: trace.outcome for trace in found}
    finally:
        close(storage)


def until(what: Callable[[], bool], seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def worker_pids(gateway: StartedGateway) -> list[int]:
    supervisor = health(gateway)["pid"]
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    return [
        int(pid)
        for pid in children
        if b"llmtrace.app.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]


def test_a_dead_worker_is_restarted_and_nothing_acknowledged_is_lost(
    start: Callable[[], StartedGateway], config: Config, tmp_path: Path
) -> None:
    gateway = start()
    acknowledged = set()
    for number in range(20):
        with client(gateway, tmp_path) as http:
            try:
                answer = http.post("https://api.openai.com/v1/chat/completions", json=CHAT)
            except httpx2.HTTPError:
                continue  # it was cut: nothing was promised
            acknowledged.add(answer.headers["x-llmtrace-trace-id"])
        if number in (5, 12):
            until(lambda: health(gateway)["status_code"] == 200)
            os.kill(worker_pids(gateway)[0], signal.SIGKILL)
    until(lambda: health(gateway)["status_code"] == 200)
    assert len(acknowledged) >= 15
    gateway.stop()
    assert acknowledged <= outcomes(config, tmp_path).keys()


def test_sigterm_lets_a_stream_end_and_the_program_exits_with_0(
    start: Callable[[], StartedGateway],
    config: Config,
    tmp_path: Path,
    provider: ScriptedProvider,
) -> None:
    gateway = start()
    provider.enqueue(Script(chunks=20, delay_ms=50))
    url = "https://api.openai.com/v1/chat/completions"
    with (
        client(gateway, tmp_path) as http,
        http.stream("POST", url, json={**CHAT, "stream": True}) as answer,
    ):
        chunks = answer.iter_bytes()
        next(chunks)
        gateway._process.send_signal(signal.SIGTERM)
        rest = b"".join(chunks)
    assert b"[DONE]" in rest
    assert gateway._process.wait(20) == 0
    assert list(outcomes(config, tmp_path).values()) == [Outcome.OK]


def test_a_gateway_ends_with_the_process_that_started_it(
    start: Callable[[], StartedGateway],
) -> None:
    gateway = start()
    assert gateway._process.stdin is not None
    gateway._process.stdin.close()
    assert gateway._process.wait(20) == 0


def test_a_gateway_goes_on_as_long_as_a_run_uses_it(
    start: Callable[[], StartedGateway], tmp_path: Path
) -> None:
    first, second = (Sharing(Home(tmp_path / "home")) for _ in range(2))
    gateway = start()
    first.begin(lambda: gateway)
    second.begin(lambda: None)
    assert not first.end(gateway)
    with pytest.raises(subprocess.TimeoutExpired):
        gateway._process.wait(2)
    assert health(gateway)["status_code"] == 200
    second.end(None)
    assert gateway._process.wait(20) == 0


def test_two_gateways_do_not_share_a_port(
    start: Callable[[], StartedGateway], tmp_path: Path
) -> None:
    first = start()
    second = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", "llmtrace.cli.main", "proxy", "--listen", first.addresses.forward],
        env={
            **os.environ,
            "LLMTRACE_HOME": str(tmp_path / "other"),
            "LLMTRACE_API_LISTEN": ANY_PORT,
            "LLMTRACE_REVERSE_LISTEN": ANY_PORT,
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert second.returncode == 1
    assert "another gateway may be running" in second.stderr


def test_a_second_gateway_of_an_installation_ends_and_leaves_the_first_as_it_is(
    start: Callable[[], StartedGateway], tmp_path: Path
) -> None:
    first = start()
    second = subprocess.run(  # noqa: S603  # our own module
        [sys.executable, "-m", "llmtrace.cli.main", "proxy", "--listen", ANY_PORT],
        env={
            **os.environ,
            "LLMTRACE_HOME": str(tmp_path / "home"),
            "LLMTRACE_API_LISTEN": ANY_PORT,
            "LLMTRACE_REVERSE_LISTEN": ANY_PORT,
        },
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert second.returncode == 1
    assert "a recorder is at work already" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    state = json.loads((tmp_path / "home" / "gateway.json").read_text())
    assert state["forward"] == first.addresses.forward


def test_a_started_gateway_takes_free_ports_where_the_wanted_ones_are_taken(
    start: Callable[[], StartedGateway], config: Config, tmp_path: Path
) -> None:
    first = start()
    taken = config.model_copy(update={"listen": first.addresses.forward})
    second = start_gateway(taken, at=Home(tmp_path / "other"))
    try:
        assert second.addresses.forward != first.addresses.forward
    finally:
        second.stop()


def test_health_says_where_it_listens_and_how_its_parts_are(
    start: Callable[[], StartedGateway], config: Config, tmp_path: Path
) -> None:
    gateway = start()
    said = health(gateway)
    assert said["status"] == "ok"
    assert said["configuration"] == digests(config)
    assert said["listen"] == {
        "forward": gateway.addresses.forward,
        "reverse": gateway.addresses.reverse,
        "api": gateway.addresses.api,
    }
    with client(gateway, tmp_path) as http:
        http.post("https://api.openai.com/v1/chat/completions", json=CHAT)
    until(lambda: health(gateway)["counters"] == {"calls{ok}": 1})
    state = json.loads((tmp_path / "home" / "gateway.json").read_text())
    assert state["forward"] == gateway.addresses.forward
    gateway.stop()
    assert not (tmp_path / "home" / "gateway.json").exists()


BROKEN_PACK = """\
family: mine
version: 1
rules:
  - id: runaway
    kind: data_exfiltration
    confidence: 0.9
    pattern: '(a)\\1'
    examples: {match: [aa], no_match: [b]}
"""


def test_sighup_takes_the_new_configuration_without_a_failed_call(
    config: Config, provider: ScriptedProvider, tmp_path: Path
) -> None:
    home, file = tmp_path / "home", tmp_path / "llmtrace.yaml"
    keys = f"workers: 1\nupstreams: {{api.openai.com: '{provider.url}'}}\n"
    keys += f"upstream_ca: {provider.write_ca(tmp_path)}\nlisten: 127.0.0.1:0\n"
    keys += "reverse: {listen: 127.0.0.1:0}\napi: {listen: 127.0.0.1:0}\n"
    file.write_text(keys)
    with (tmp_path / "log").open("wb") as log:
        gateway = subprocess.Popen(  # noqa: S603  # our own module
            [sys.executable, "-m", "llmtrace", "proxy", "--config", str(file)],
            env={"LLMTRACE_HOME": str(home), "PATH": os.environ["PATH"]},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
    try:
        until((home / "gateway.json").exists)
        url = f"http://{json.loads((home / 'gateway.json').read_text())['reverse']}"

        def ask(size: int) -> int:
            body = {**CHAT, "messages": [{"role": "user", "content": "x" * size}]}
            return httpx2.post(
                f"{url}/openai/v1/chat/completions", json=body, trust_env=False
            ).status_code

        assert ask(5000) == 200
        file.write_text("limits: {body_bytes: no number}\n")
        gateway.send_signal(signal.SIGHUP)
        assert ask(5000) == 200
        pack = tmp_path / "pack.yaml"
        pack.write_text(BROKEN_PACK)
        file.write_text(keys + f"security_analysis: {{packs: [{pack}]}}\n")
        gateway.send_signal(signal.SIGHUP)
        assert ask(5000) == 200
        file.write_text(keys + "limits: {body_bytes: 2048}\n")
        gateway.send_signal(signal.SIGHUP)
        seen: list[int] = []
        while 413 not in seen:
            seen.append(ask(5000))
            assert len(seen) < 2000
        assert set(seen) <= {200, 413}
        assert ask(100) == 200
        said = (tmp_path / "log").read_text()
        assert "limits.body_bytes" in said
        assert "rule 'runaway'" in said
        assert " died " not in said
    finally:
        gateway.terminate()
        assert gateway.wait(30) == 0
