import subprocess
import sys
from pathlib import Path

import httpx2
import pytest

from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.script import Script, ScriptedTool

CHAT = {"model": "gpt-4o", "messages": [{"role": "user", "content": "@script: text=asked"}]}


def said(answer: httpx2.Response) -> str:
    text = answer.json()["choices"][0]["message"]["content"]
    assert isinstance(text, str)
    return text


def test_the_queue_comes_before_the_prompt(
    provider: ScriptedProvider, http1: httpx2.Client
) -> None:
    provider.enqueue(Script(text="queued"))
    texts = [said(http1.post("/v1/chat/completions", json=CHAT)) for _ in range(2)]
    assert texts == ["queued", "asked"]


def test_side_requests_take_nothing_from_the_queue(
    provider: ScriptedProvider, http1: httpx2.Client
) -> None:
    provider.enqueue(Script(text="queued"))
    assert http1.get("/v1/models").json()["data"]
    assert http1.post("/v1/messages/count_tokens", json={}).json() == {"input_tokens": 12}
    assert said(http1.post("/v1/chat/completions", json=CHAT)) == "queued"
    assert [call.scripted for call in provider.calls] == [False, False, True]
    assert len(provider.model_calls) == 1


def test_an_offered_script_waits_for_a_request_with_its_tools(
    provider: ScriptedProvider, http1: httpx2.Client
) -> None:
    tools = [{"type": "function", "function": {"name": "Write"}}]
    provider.enqueue(Script(tool_calls=(ScriptedTool(name="Write"),), offered=True))
    assert said(http1.post("/v1/chat/completions", json=CHAT)) == "asked"
    answer = http1.post("/v1/chat/completions", json={**CHAT, "tools": tools}).json()
    assert answer["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == "Write"


def test_a_script_quotes_the_request(provider: ScriptedProvider, http1: httpx2.Client) -> None:
    provider.enqueue(Script(text="It is {quote}.", quote="ask[a-z]+"))
    assert said(http1.post("/v1/chat/completions", json=CHAT)) == "It is asked."


def test_every_answer_has_an_id_of_its_own(http1: httpx2.Client) -> None:
    ids = {http1.post("/v1/chat/completions", json=CHAT).json()["id"] for _ in range(3)}
    assert len(ids) == 3


def test_plain_and_tls_are_the_same_provider(
    provider: ScriptedProvider, http1: httpx2.Client
) -> None:
    with httpx2.Client(trust_env=False) as plain:
        assert said(plain.post(provider.plain_url + "/v1/chat/completions", json=CHAT)) == "asked"
    http1.post("/v1/chat/completions", json=CHAT)
    assert len(provider.calls) == 2


def test_an_unknown_path_is_not_found(http1: httpx2.Client) -> None:
    assert http1.get("/nowhere").status_code == 404


def test_waiting_in_vain_says_so(provider: ScriptedProvider) -> None:
    with pytest.raises(TimeoutError, match="0 calls"):
        provider.wait_for(bool, seconds=0)


def test_the_module_runs_as_a_command(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "llmtrace.testing.provider", "--ca", str(tmp_path / "ca.pem")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:  # noqa: S603
        try:
            assert process.stdout is not None
            url, plain_url, ca = process.stdout.readline().split()
            assert (url[:8], plain_url[:7]) == ("https://", "http://")
            assert Path(ca).read_bytes().startswith(b"-----BEGIN CERTIFICATE-----")
        finally:
            process.terminate()
