"""What a client reads when its provider gives no answer, over HTTP/1.1 and HTTP/2."""

import asyncio
import json
import subprocess
from pathlib import Path

import httpx2
import pytest

from llmtrace.domain.traces import Outcome
from llmtrace.testing.inprocess import running_worker
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize(
    ("host", "shape"),
    [("api.openai.com", "code"), ("api.anthropic.com", "type")],
    ids=["openai", "anthropic"],
)
async def test_the_error_has_the_dialects_shape(
    tmp_path: Path, version: str, host: str, shape: str
) -> None:
    path = "/v1/chat/completions" if host == "api.openai.com" else "/v1/messages"
    with ScriptedProvider() as provider:
        nobody = dict.fromkeys((host,), "https://127.0.0.1:9")
        async with running_worker(tmp_path, provider, upstreams=nobody) as worker:
            (tmp_path / "ca.pem").write_text(worker.ca_pem)
            process = await asyncio.create_subprocess_exec(
                *("curl", "-sS", version, "--max-time", "10", "-w", "\n%{http_code}"),
                *("--proxy", worker.proxy_url, "--cacert", str(tmp_path / "ca.pem")),
                *("-d", '{"model":"m","messages":[]}', f"https://{host}{path}"),
                stdout=subprocess.PIPE,
            )
            out, _ = await process.communicate()
    body, _, status = out.decode().rpartition("\n")
    assert status == "502"
    assert shape in json.loads(body)["error"]
    assert "no connection to the provider" in json.loads(body)["error"]["message"]


async def test_a_provider_that_falls_silent_is_a_504_in_the_dialects_shape(tmp_path: Path) -> None:
    with ScriptedProvider() as provider:
        provider.enqueue(Script(misbehave="silent"))
        async with running_worker(tmp_path, provider, limits__upstream_idle_seconds=0.5) as worker:
            url = f"{worker.base_url}/anthropic/v1/messages"
            async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
                answer = await http.post(url, json={"model": "m", "messages": [], "max_tokens": 1})
            trace = await worker.journal.trace()
    assert answer.status_code == 504
    assert answer.json()["type"] == "error"
    assert (trace.outcome, trace.status) == (Outcome.TIMEOUT, 504)


@pytest.mark.parametrize(
    ("settings", "status", "code", "way_out"),
    [
        pytest.param(
            {"upstreams": {"api.openai.com": "https://127.0.0.1:2"}},
            *(502, "provider_unreachable", ""),
            id="nobody-listens",
        ),
        pytest.param(
            {"upstreams": {"api.openai.com": "https://127.0.0.1:1"}},
            *(403, "destination_forbidden", "intercept.hosts"),
            id="the-gateway-itself",
        ),
        pytest.param(
            {"upstream_ca": None}, *(502, "provider_untrusted", "upstream_ca"), id="not-trusted"
        ),
    ],
)
async def test_why_a_provider_is_not_reached_is_answered_and_recorded(
    tmp_path: Path, settings: dict[str, object], status: int, code: str, way_out: str
) -> None:
    with ScriptedProvider() as provider:
        async with running_worker(tmp_path, provider, **settings) as worker:
            url = f"{worker.base_url}/openai/v1/chat/completions"
            async with httpx2.AsyncClient(trust_env=False, timeout=10) as http:
                answer = await http.post(url, json={"model": "m", "messages": []})
            trace = await worker.journal.trace()
        assert not provider.model_calls
    error = answer.json()["error"]
    assert (answer.status_code, error["code"]) == (status, code)
    assert (trace.outcome, trace.error_code) == (Outcome.CONNECT_FAILED, code)
    assert answer.headers["x-llmtrace-trace-id"] == trace.trace_id
    assert way_out in error["message"]
    assert way_out in trace.error
