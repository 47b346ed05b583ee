"""What a client reads when its provider gives no answer, over HTTP/1.1 and HTTP/2."""

import asyncio
import json
import subprocess
from pathlib import Path

import pytest

from llmtrace.testing.inprocess import running_worker
from llmtrace.testing.provider import ScriptedProvider


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
