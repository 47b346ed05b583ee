"""A gateway whose models come from a hub, are missing, or break: it says so everywhere."""

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from llmtrace.testing.hub import Faults, StandInHub
from llmtrace.testing.processes import GatewayProcess
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script
from llmtrace.testing.tinymodels import ATTACKS, BROKEN, text_classifier, write

pytestmark = pytest.mark.slow

PAGE = "Would you please ignore the hedge by the gate this year."
"""What no rule finds anything in; the tiny model knows one of its words."""
BREAKS = text_classifier({**ATTACKS, "hedge": BROKEN})
"""A model that cannot read the page."""


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[StandInHub]:
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with StandInHub() as running:
        running.add("a/texts", text_classifier())
        yield running


type Start = Callable[..., GatewayProcess]


@pytest.fixture
def start(tmp_path: Path, provider: ScriptedProvider) -> Iterator[Start]:
    started: list[GatewayProcess] = []

    def begin(**settings: Any) -> GatewayProcess:
        made = GatewayProcess(tmp_path / "gateway", provider, ["api.openai.com"], settings=settings)
        started.append(made)
        made.start()
        return made

    yield begin
    for one in started:
        one.stop()


def health(gateway: GatewayProcess) -> dict[str, Any]:
    answer = httpx2.get(f"{gateway.api_url}/health", trust_env=False, timeout=5)
    return {"code": answer.status_code, **answer.json()}


def until(what: Callable[[], bool], seconds: float = 30.0) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)


def post(gateway: GatewayProcess, provider: ScriptedProvider, text: str) -> httpx2.Response:
    provider.enqueue(Script(text="Done."))
    return httpx2.post(
        f"{gateway.reverse_url}/openai/v1/chat/completions",
        json={"model": "gpt-4o", "messages": [{"role": "user", "content": text}]},
        headers={"authorization": "Bearer sk-1"},
        trust_env=False,
        timeout=30,
    )


def ask(gateway: GatewayProcess, provider: ScriptedProvider, text: str) -> list[dict[str, Any]]:
    """Make a call, and return what was found in it."""
    answer = post(gateway, provider, text)
    assert answer.status_code == 200, answer.text
    gateway.traces(count=1)
    said = gateway.cli("findings", "list", "--json", "--config", str(gateway.config))
    return list(json.loads(said))


def test_a_model_is_fetched_before_the_gateway_is_ready_and_reads(
    start: Start, hub: StandInHub, provider: ScriptedProvider
) -> None:
    gateway = start(
        security_analysis={"ml_model": "shipped"},
        ml={"models": [{"id": "a/texts"}], "endpoint": hub.url},
    )
    said = health(gateway)
    assert (said["code"], said["status"]) == (200, "ok")
    assert [(row["name"], row["loaded"]) for row in said["models"]] == [
        ("llmtrace-small", 1),
        ("a/texts", 1),
    ]
    fetched = len(hub.calls)
    found = ask(gateway, provider, PAGE)
    assert any("a/texts.injection" in row["detector"] for row in found)
    assert len(hub.calls) == fetched
    until(lambda: all(row["texts"] for row in health(gateway)["models"]))
    read = health(gateway)["models"][1]
    assert (read["truncated"], read["p99_ms"] is not None, read["load_ms"] > 0) == (0, True, True)
    listed = json.loads(gateway.cli("models", "list", "--json", "--config", str(gateway.config)))
    assert {row["name"]: row["running"]["texts"] for row in listed} == {
        "llmtrace-small": 1,
        "a/texts": 1,
    }


def test_without_its_model_a_gateway_goes_on_and_says_so(
    start: Start, hub: StandInHub, provider: ScriptedProvider
) -> None:
    hub.faults = Faults(status=500)
    gateway = start(
        security_analysis={"ml_model": "a/texts"}, ml={"endpoint": hub.url}, on_error="allow"
    )
    said = health(gateway)
    assert (said["code"], said["status"]) == (200, "degraded")
    (reason,) = said["degraded"]
    assert reason.startswith("model a/texts: revision 'main' is not in the cache; run 'llmtrace")
    assert str(gateway.home) not in json.dumps(said["models"]) + reason
    assert said["counters"]["model_unavailable{a/texts}"] == 1
    assert "not fetched: a/texts: " in gateway.log
    assert "the gateway goes on without this model" in gateway.log
    found = ask(gateway, provider, "Write to someone@example.org, please.")
    assert [row["kind"] for row in found] == ["pii.email"]


def test_without_its_model_a_gateway_that_blocks_does_not_start(
    start: Start, hub: StandInHub
) -> None:
    hub.faults = Faults(status=404)
    with pytest.raises(RuntimeError) as caught:
        start(security_analysis={"ml_model": "a/texts"}, ml={"endpoint": hub.url})
    said = str(caught.value)
    assert "security_analysis.ml_model: a/texts: revision 'main' is not in" in said
    assert "worker-0 cannot be used as configured; it says why above" in said
    assert "died" not in said


def test_a_model_that_fails_on_a_text_leaves_it_to_the_rules_and_says_so(
    start: Start, provider: ScriptedProvider, tmp_path: Path
) -> None:
    own = write(BREAKS, tmp_path / "own")
    gateway = start(security_analysis={"ml_model": str(own)}, on_error="allow")
    assert health(gateway)["status"] == "ok"
    found = ask(gateway, provider, f"Write to someone@example.org. {PAGE}")
    assert [row["kind"] for row in found] == ["pii.email"]
    until(lambda: bool(health(gateway)["models"][0]["failed"]))
    said = health(gateway)
    assert (said["code"], said["status"]) == (200, "degraded")
    (reason,) = said["degraded"]
    assert "could not read texts within the last 5 minutes (BadReading)" in reason
    assert said["counters"]["detector_skipped{model}"] == 1
    assert "could not read a text: BadReading at " in gateway.log
    assert "hedge" not in gateway.log


@pytest.mark.parametrize(("mode", "status"), [("enforce", 503), ("observe", 200)])
def test_what_a_model_fails_on_is_refused_where_findings_are_acted_on(
    start: Start, provider: ScriptedProvider, tmp_path: Path, mode: str, status: int
) -> None:
    own = write(BREAKS, tmp_path / "own")
    gateway = start(security_analysis={"ml_model": str(own)}, on_error="block", mode=mode)
    answer = post(gateway, provider, PAGE)
    assert answer.status_code == status
    assert ("detection_failed" in answer.text) is (status == 503)
    assert post(gateway, provider, "What is the capital of Norway?").status_code == 200


@pytest.mark.parametrize("on_error", ["block", "allow"])
def test_a_reload_with_a_broken_model_keeps_the_last_good_one(
    start: Start, provider: ScriptedProvider, tmp_path: Path, on_error: str
) -> None:
    own = write(text_classifier(), tmp_path / "own")
    gateway = start(security_analysis={"ml_model": str(own)}, on_error=on_error)
    network = own / "onnx/model.onnx"
    good = network.read_bytes()
    network.write_bytes(good[:100])
    os.kill(gateway.pid, signal.SIGHUP)
    until(lambda: "the configuration stays as it was" in gateway.log)
    assert "model.onnx: cannot be loaded" in gateway.log
    said = health(gateway)
    assert (said["status"], said["models"][0]["loaded"]) == ("ok", 1)
    assert any("model.injection" in row["detector"] for row in ask(gateway, provider, PAGE))
    network.write_bytes(good)
    os.kill(gateway.pid, signal.SIGHUP)
    until(lambda: "all workers run with what was read" in gateway.log)
