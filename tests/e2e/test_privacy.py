"""I7: no credential is kept. Eight are planted; everything on disk is searched, unpacked too."""

import contextlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
import zstandard

from llmtrace.app.accounts import accounts
from llmtrace.app.gateway import ANY_PORT, start_gateway
from llmtrace.app.settings import Settings
from llmtrace.app.stores import open_storage
from llmtrace.certs.authority import CertificateAuthority
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.storage.base import TraceQuery
from llmtrace.storage.export import csv_lines, jsonl_lines
from llmtrace.storage.keys import SECRET_LENGTH
from llmtrace.storage.registry import close
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script

pytestmark = pytest.mark.slow

PLANTED = {
    "bearer": "planted-bearer-6f1d0c5b9a7e",
    "api_key": "planted-api-key-0b8e4f2a1c3d",
    "query": "planted-query-key-9d2c7e5f1a0b",
    "cookie": "planted-cookie-4a6b8c0d2e1f",
    "aws": "planted-aws-session-7c5e3a1b9d0f",
    "proxy": "planted-proxy-password-1e3c5a7b9d",
}
KEYS = ("LLMTrace key of the proxy", "LLMTrace key of a header")
"""Real ones, of which the second half is searched for: their ids are no secret."""
FRAME = b"\x28\xb5\x2f\xfd"
"""How a zstd frame begins (RFC 8878 §3.1.1)."""


def looked_through(path: Path) -> bytes:
    """Return a file's bytes, and after them what its zstd frames decompress to."""
    data = path.read_bytes()
    found = [data]
    at = data.find(FRAME)
    while at >= 0:
        with contextlib.suppress(zstandard.ZstdError):
            found.append(zstandard.ZstdDecompressor().decompressobj().decompress(data[at:]))
        at = data.find(FRAME, at + 1)
    return b"\n".join(found)


@pytest.fixture
def provider() -> Iterator[ScriptedProvider]:
    with ScriptedProvider() as running:
        yield running


def test_eight_planted_credentials_are_nowhere(provider: ScriptedProvider, tmp_path: Path) -> None:
    hosts = ("api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com")
    bedrock = "bedrock-runtime.us-east-1.amazonaws.com"
    config = load(
        environ={},
        overrides={
            **dict.fromkeys(("listen", "reverse.listen", "api.listen"), ANY_PORT),
            "workers": 1,
            "logging.level": "debug",
            "upstreams": dict.fromkeys((*hosts, bedrock), provider.url),
            "upstream_ca": str(provider.write_ca(tmp_path)),
        },
    )
    home = Home(tmp_path / "home")
    with accounts(Settings(config=config, home=home)) as found:
        keys = {kind: found.create_key()[1] for kind in KEYS}
    gateway = start_gateway(config, at=home)
    try:
        pem = CertificateAuthority.load(home.ca).export_pem()
        with httpx2.Client(
            proxy=f"http://run:{PLANTED['proxy']}@{gateway.addresses.forward}",
            verify=ssl.create_default_context(cadata=pem),
            trust_env=False,
        ) as http:
            _plant(http, provider, hosts, bedrock)
        with httpx2.Client(
            proxy=f"http://bot:{keys[KEYS[0]]}@{gateway.addresses.forward}",
            verify=ssl.create_default_context(cadata=pem),
            trust_env=False,
        ) as http:
            _plant_keys(http, provider, hosts[0], keys)
    finally:
        gateway.stop()
    settings = Settings(config=config, home=home)
    storage = open_storage(settings)
    exported = b"".join(jsonl_lines(storage.traces.export(TraceQuery()), bodies=True))
    table = "".join(csv_lines(storage.traces.query(TraceQuery(limit=100)))).encode()
    assert exported.count(b"\n") == 8
    close(storage)
    files = {
        p.relative_to(tmp_path): looked_through(p) for p in home.path.rglob("*") if p.is_file()
    }
    files[Path("export.jsonl")], files[Path("export.csv")] = exported, table
    shown = subprocess.run(  # our own command
        [sys.executable, "-m", "llmtrace.cli.main", "traces", "list", "--json"],
        env={"LLMTRACE_HOME": str(home.path), "PATH": ""},
        capture_output=True,
        check=True,
    )
    files[Path("stdout")] = shown.stdout + shown.stderr
    assert b"All is well" in b"".join(files.values())  # what is searched is really there
    hits = [
        (name, kind)
        for name, data in files.items()
        for kind, v in {**PLANTED, **{k: v[-SECRET_LENGTH:] for k, v in keys.items()}}.items()
        if v.encode() in data
    ]
    assert hits == []
    received = repr([(call.target, call.headers) for call in provider.calls])
    assert not [key for key in keys.values() if key[-SECRET_LENGTH:] in received]


def _plant_keys(
    http: httpx2.Client, provider: ScriptedProvider, host: str, keys: dict[str, str]
) -> None:
    """Use keys, good and bad, and let an agent tell its own in a prompt."""
    proxys, header = (keys[kind] for kind in KEYS)
    url = f"https://{host}/v1/chat/completions"
    told = f"HTTPS_PROXY=http://bot:{proxys}@127.0.0.1:8642"
    message = {"model": "gpt-4o", "messages": [{"role": "user", "content": f"All is well? {told}"}]}
    provider.enqueue(Script(text=f"All is well with {proxys}"))
    http.post(url, json=message)
    http.post(f"{url}?key={header}", json=message, headers={"cookie": f"a={header}"})
    for wrong in (header[:-1], f"{header}x", header[:-3] + "..."):
        assert http.post(url, json=message, headers={"x-llmtrace-token": wrong}).status_code == 401


def _plant(
    http: httpx2.Client, provider: ScriptedProvider, hosts: tuple[str, ...], bedrock: str
) -> None:
    openai, anthropic, gemini = (f"https://{host}" for host in hosts)
    message = {"model": "gpt-4o", "messages": [{"role": "user", "content": "All is well?"}]}
    provider.enqueue(
        Script(text=f"All is well. Your key is {PLANTED['bearer']}."),
        Script(status=401, text=f"Incorrect API key: {PLANTED['api_key']}"),
    )
    bearer = {"authorization": f"Bearer {PLANTED['bearer']}"}
    http.post(f"{openai}/v1/chat/completions", json=message, headers=bearer)
    http.post(
        f"{anthropic}/v1/messages",
        json={**message, "max_tokens": 9},
        headers={"x-api-key": PLANTED["api_key"]},
    )
    http.post(
        f"{gemini}/v1beta/models/gemini-2.5-flash:streamGenerateContent",
        params={"alt": "sse", "key": PLANTED["query"]},
        json={"contents": [{"role": "user", "parts": [{"text": "All is well?"}]}]},
    )
    http.post(
        f"{openai}/v1/chat/completions",
        json={**message, "stream": True},
        headers={"cookie": f"a=b; session={PLANTED['cookie']}"},
    )
    http.post(
        f"https://{bedrock}/model/anthropic.claude-3-5-sonnet-20241022-v2:0/converse",
        json={"messages": [{"role": "user", "content": [{"text": "All is well?"}]}]},
        headers={"x-amz-security-token": PLANTED["aws"], "authorization": "AWS4-HMAC-SHA256 x"},
    )
    http.post(f"{openai}/v1/chat/completions", content=b'{"broken', headers=bearer)
