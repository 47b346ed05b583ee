"""boto3 as it is, with AWS keys that the gateway has too: what is changed is signed anew."""

import os
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest
from botocore.auth import SigV4Auth  # type: ignore[import-untyped]  # no stubs exist
from botocore.awsrequest import AWSRequest  # type: ignore[import-untyped]
from botocore.credentials import Credentials  # type: ignore[import-untyped]

from llmtrace.testing.planted import HOUSE, MAIL
from llmtrace.testing.processes import GatewayProcess, Program
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.serving import Call

pytestmark = [pytest.mark.realclients, pytest.mark.timeout(180)]

SCRIPT = Path(__file__).parent / "clients" / "enforced_clients.py"
KEY_ID, SECRET = "AKIAFAKEFAKEFAKEFAKE", "fake"
PROMPT = (
    f'Write to {MAIL} now. @script: quote="LLMT_[A-Z]+_[A-Z]{{16}}" text="I wrote to {{quote}}."'
)


@pytest.fixture(scope="module")
def gateway(
    provider: ScriptedProvider, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[GatewayProcess]:
    folder = tmp_path_factory.mktemp("resigning")
    (folder / "id").write_text(KEY_ID)
    (folder / "secret").write_text(f"{SECRET}\n")
    keys = {"access_key_id": f"file:{folder}/id", "secret_access_key": f"file:{folder}/secret"}
    hosts = ["bedrock-runtime.us-east-1.amazonaws.com"]
    settings = {**HOUSE, "resigning": {"aws": [keys]}}
    with GatewayProcess(folder, provider, hosts, settings=settings) as running:
        yield running


def is_rightly_signed(call: Call) -> bool:
    """Whether botocore signs what was received in the same way."""
    said = call.header("authorization") or ""
    names = said.split("SignedHeaders=")[1].split(",")[0].split(";")
    headers = {name: call.header(name) or call.header(":authority") for name in names}
    about = AWSRequest(
        call.method, f"https://{headers['host']}{call.target}", headers, data=call.body
    )
    about.context["timestamp"] = headers["x-amz-date"]
    judge = SigV4Auth(Credentials(KEY_ID, SECRET), "bedrock", "us-east-1")
    text = judge.string_to_sign(about, judge.canonical_request(about))
    return said.endswith(f"Signature={judge.signature(text, about)}")


def test_boto3_has_its_value_back_and_the_provider_a_right_signature(
    gateway: GatewayProcess, provider: ScriptedProvider, clients: Path, tmp_path: Path
) -> None:
    provider.clear()
    base = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "LANG": "C.UTF-8"}
    environment = gateway.way().environment("resigning", base)
    python = str(clients / "venv" / "bin" / "python")
    program = Program(
        [python, str(SCRIPT), "bedrock_converse_signed", PROMPT], environment, folder=tmp_path
    )
    output = program.rest(60)
    assert program.end() == 0, program.errors
    (heard,) = [orjson.loads(line) for line in output.splitlines() if line.startswith("{")]
    assert heard["text"] == f"I wrote to {MAIL}."
    (call,) = provider.model_calls
    assert MAIL.encode() not in call.body
    assert is_rightly_signed(call)
    (row,) = gateway.traces(count=1)
    assert (row["status"], row["verdict"]) == (200, "redact")
