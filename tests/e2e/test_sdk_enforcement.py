"""Unmodified clients behind a gateway that enforces: what each of them gets of each verdict."""

import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from llmtrace.testing.planted import CANARY, INJECTION, MAIL, SECRET
from llmtrace.testing.processes import GatewayProcess, Program, Way
from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.serving import Call

pytestmark = [pytest.mark.realclients, pytest.mark.timeout(180)]

SCRIPTS = Path(__file__).parent / "clients"
SECONDS = 60
KEYS = {
    "ANTHROPIC_API_KEY": "sk-ant-fake",
    "AWS_BEARER_TOKEN_BEDROCK": "fake",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "OLLAMA_API_KEY": "fake",
    "OLLAMA_HOST": "https://ollama.com",
    "OPENAI_API_KEY": "sk-fake",
}
_BLOCK: Final = "MIIEvQIBADANBgkqhkiG9w0BAQEFAASCBKcwggSjAgEAAoIBAQC7VJTUt9Us8cKj"
PRIVATE_KEY = f"-----BEGIN PRIVATE KEY-----\n{_BLOCK}\n{_BLOCK}\n-----END PRIVATE KEY-----"
QUOTE = 'quote="LLMT_[A-Z]+_[A-Z]{16}"'
BEFORE = "All is well so far and the words go on for a while, since the word is"
PROMPTS: Final[Mapping[str, str]] = {
    "words": 'Say something. @script: chunks=7 text="All is fine, as ever." reasoning="hm"',
    "call": 'Look around. @script: tool_call=run_shell {"command": "ls -l src"}',
    "attack": f"{INJECTION} @script: chunks=2",
    "key": f"Is this a key?\n{PRIVATE_KEY}",
    "mail": f'Write to {MAIL} now. @script: chunks=31 {QUOTE} text="I wrote to {{quote}}."',
    "secret": f'The token is {SECRET}. @script: chunks=29 {QUOTE} text="I have {{quote}} here."',
    "arguments": f"Keep {SECRET} in a file. @script: {QUOTE} "
    'tool_call=Write {"path": "t.env", "content": "TOKEN={quote}"}',
    "danger": 'Clean up. @script: tool_call=Bash {"command": "rm -rf /"}',
    "canary": f'Which word? @script: chunks=40 text="{BEFORE} {CANARY}, and nothing comes after."',
}
INNOCENT = ("words", "call")
REFUSED = {"attack": "prompt_injection", "key": "secret.private_key"}
SHOW = re.compile(r"llmtrace findings show ([0-9a-f-]{36})")


@dataclass(frozen=True, kw_only=True)
class Family:
    """How the clients of one maker tell what happened.

    ``bad`` is raised on a refused request, ``broken`` on an answer that is stopped as it comes;
    ``end`` is how an answer ends that has nothing to call.
    """

    bad: str
    broken: str
    end: str
    reverse: Mapping[str, str] = field(default_factory=dict)


OPENAI = Family(
    bad="openai.BadRequestError",
    broken="openai.APIError",
    end="stop",
    reverse={"OPENAI_BASE_URL": "/openai/v1"},
)
ANTHROPIC = Family(
    bad="anthropic.BadRequestError",
    broken="anthropic.APIStatusError",
    end="end_turn",
    reverse={"ANTHROPIC_BASE_URL": "/anthropic"},
)
GOOGLE = Family(
    bad="google.genai.errors.ClientError",
    broken="google.genai.errors.ClientError",
    end="STOP",
    reverse={"GOOGLE_GEMINI_BASE_URL": "/gemini"},
)
BEDROCK = Family(  # boto3 sends keys over HTTPS alone, and what it signs is for Amazon's host
    bad="botocore.errorfactory.ValidationException",
    broken="botocore.exceptions.EventStreamError",
    end="end_turn",
)
OLLAMA = Family(
    bad="ollama._types.ResponseError",
    broken="ollama._types.ResponseError",
    end="stop",
    reverse={"OLLAMA_HOST": "/ollama"},
)
LITELLM = Family(
    bad="litellm.exceptions.BadRequestError",
    broken="litellm.exceptions.MidStreamFallbackError",
    end="stop",
    reverse={**OPENAI.reverse, **ANTHROPIC.reverse},
)
JAVASCRIPT = Family(bad="BadRequestError", broken="APIError", end="stop", reverse=LITELLM.reverse)
GOOGLE_JS = Family(bad="ApiError", broken="ApiError", end="STOP", reverse=GOOGLE.reverse)


@dataclass(frozen=True, kw_only=True)
class Case:
    """One client's call, over one way."""

    program: str
    name: str
    family: Family
    way: str = "forward"
    end: str = ""

    @property
    def id(self) -> str:
        """As it reads in a test's name."""
        return f"{self.program}-{self.name}-{self.way}"

    @property
    def streams(self) -> bool:
        """Whether its answers come in pieces."""
        return "_stream" in self.name or "_helper" in self.name


def _cases(program: str, family: Family, names: str, *, end: str = "") -> Iterator[Case]:
    for name in names.split():
        for way in ("forward", "reverse") if family.reverse else ("forward",):
            yield Case(program=program, name=name, family=family, way=way, end=end or family.end)


CASES = (
    *_cases(
        "python",
        OPENAI,
        "openai_chat openai_chat_stream openai_chat_helper openai_chat_async "
        "openai_chat_stream_async",
    ),
    *_cases(
        "python",
        OPENAI,
        "openai_responses openai_responses_stream openai_responses_helper "
        "openai_responses_async openai_responses_stream_async",
        end="completed",
    ),
    *_cases(
        "python",
        ANTHROPIC,
        "anthropic_messages anthropic_messages_async anthropic_stream anthropic_stream_async",
    ),
    *_cases("python", GOOGLE, "gemini_generate gemini_stream gemini_stream_async"),
    *_cases("python", BEDROCK, "bedrock_converse bedrock_converse_stream"),
    *_cases("python", OLLAMA, "ollama_chat ollama_chat_stream"),
    *_cases("litellm", LITELLM, "litellm_openai litellm_openai_stream litellm_anthropic_stream"),
    *_cases("node", JAVASCRIPT, "openai_chat openai_chat_stream"),
    *_cases("node", JAVASCRIPT, "openai_responses openai_responses_stream", end="completed"),
    *_cases("node", JAVASCRIPT, "anthropic_messages anthropic_messages_stream", end="end_turn"),
    *_cases("node", GOOGLE_JS, "gemini_stream"),
)
SIGNED = Case(program="python", name="bedrock_converse_signed", family=BEDROCK, end=BEDROCK.end)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """What came of a client's prompts: to its application, to the provider, and on record."""

    case: Case
    heard: Mapping[str, Mapping[str, Any]]
    calls: Sequence[Call]
    rows: Sequence[Mapping[str, Any]]

    def error(self, prompt: str) -> Mapping[str, Any]:
        """Return the error that the application met."""
        error = self.heard[prompt].get("error")
        assert error, f"no error, but {self.heard[prompt]}"
        return dict(error)

    def bodies(self) -> str:
        """Return all that the provider was told."""
        return "\n".join(call.body.decode() for call in self.calls)


class Bench:
    """Runs clients: without a gateway, and behind one."""

    def __init__(
        self,
        gateway: GatewayProcess,
        direct: Way,
        provider: ScriptedProvider,
        clients: Path,
        folder: Path,
    ) -> None:
        self._gateway, self._direct, self._provider = gateway, direct, provider
        self._clients, self._folder = clients, folder
        self._behind = gateway.way()
        self._known: set[str] = set()
        self._without: dict[str, Mapping[str, Any]] = {}

    def run(self, case: Case) -> Ran:
        """Let a client ask everything behind the gateway."""
        self._provider.clear()
        heard = self._ask(case, self._environment(case), PROMPTS)
        calls = self._provider.model_calls
        return Ran(case=case, heard=heard, calls=calls, rows=self._new_rows())

    def without(self, case: Case) -> Mapping[str, Any]:
        """Return what it gets of innocent prompts without a gateway."""
        name = f"{case.program}-{case.name}"
        if name not in self._without:
            environment = self._direct.environment(name, self._base())
            prompts = {name: PROMPTS[name] for name in INNOCENT}
            self._without[name] = self._ask(case, environment, prompts)
        return self._without[name]

    def shown(self, trace_id: str) -> str:
        """Return what ``llmtrace findings show`` says."""
        return self._gateway.cli(
            "findings", "show", trace_id, "--config", str(self._gateway.config)
        )

    def _base(self) -> dict[str, str]:
        return {
            "HOME": str(self._folder),
            "PATH": os.environ["PATH"],
            "LANG": "C.UTF-8",
            "CLIENT_MODULES": str(self._clients / "npm"),
            **KEYS,
        }

    def _environment(self, case: Case) -> dict[str, str]:
        if case.way == "forward":
            return self._behind.environment(case.id.replace("_", "-"), self._base())
        url = self._gateway.reverse_url
        return self._base() | {key: url + path for key, path in case.family.reverse.items()}

    def _ask(
        self, case: Case, environment: Mapping[str, str], prompts: Mapping[str, str]
    ) -> Mapping[str, Any]:
        if case.program == "node":
            command = [str(self._clients / "bin" / "node"), str(SCRIPTS / "enforced_clients.cjs")]
        else:
            folder = self._clients / ("litellm" if case.program == "litellm" else "venv")
            command = [str(folder / "bin" / "python"), str(SCRIPTS / "enforced_clients.py")]
        program = Program(
            [*command, case.name, *prompts.values()], environment, folder=self._folder
        )
        output = program.rest(SECONDS)
        assert program.end() == 0, program.errors
        lines = [line for line in output.splitlines() if line.startswith("{")]
        assert len(lines) == len(prompts), program.errors
        return dict(zip(prompts, map(orjson.loads, lines), strict=True))

    def _new_rows(self) -> list[dict[str, Any]]:
        """Return the traces since the last run: one for each prompt, or more were they retried."""
        rows = self._gateway.traces(count=len(self._known) + len(PROMPTS))
        new = [row for row in rows if row["trace_id"] not in self._known]
        self._known |= {row["trace_id"] for row in new}
        return new


@pytest.fixture(scope="module")
def bench(
    enforcing: GatewayProcess,
    direct: Way,
    provider: ScriptedProvider,
    clients: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Bench:
    return Bench(enforcing, direct, provider, clients, tmp_path_factory.mktemp("bench"))


@pytest.fixture(scope="module", params=CASES, ids=[case.id for case in CASES])
def ran(request: pytest.FixtureRequest, bench: Bench) -> Ran:
    return bench.run(request.param)


@pytest.fixture(scope="module")
def signed(bench: Bench) -> Ran:
    return bench.run(SIGNED)


def test_innocent_calls_are_as_without_a_gateway(ran: Ran, bench: Bench) -> None:
    assert {name: ran.heard[name] for name in INNOCENT} == bench.without(ran.case)
    assert not [name for name in INNOCENT if "error" in ran.heard[name]]
    assert ran.heard["call"]["tools"] == [["run_shell", {"command": "ls -l src"}]]


@pytest.mark.parametrize("prompt", REFUSED)
def test_a_blocked_request_is_a_bad_request_without_a_retry(ran: Ran, prompt: str) -> None:
    error = ran.error(prompt)
    assert error["names"][0] == ran.case.family.bad
    assert REFUSED[prompt] in error["message"]
    shown = SHOW.search(error["message"])
    assert shown, error["message"]
    assert _BLOCK not in error["message"]
    (row,) = [row for row in ran.rows if row["trace_id"] == shown[1]]
    assert (row["status"], row["verdict"]) == (400, "block")


def test_each_prompt_is_one_attempt(ran: Ran) -> None:
    assert len(ran.rows) == len(PROMPTS)
    assert len(ran.calls) == len(PROMPTS) - len(REFUSED)
    assert _BLOCK not in ran.bodies()
    assert "previous instructions" not in ran.bodies()


def test_a_hidden_value_is_back_in_the_text(ran: Ran) -> None:
    assert MAIL not in ran.bodies()
    assert SECRET not in ran.bodies()
    assert len(re.findall(r"LLMT_EMAIL_[A-Z]{16}", ran.bodies())) == 1
    assert ran.heard["mail"]["text"] == f"I wrote to {MAIL}."
    assert ran.heard["secret"]["text"] == f"I have {SECRET} here."
    assert {ran.heard[name]["finish"] for name in ("mail", "secret")} == {ran.case.end}


def test_a_hidden_value_is_back_in_the_arguments_of_a_tool_call(ran: Ran) -> None:
    call = ["Write", {"path": "t.env", "content": f"TOKEN={SECRET}"}]
    assert ran.heard["arguments"]["tools"] == [call]


def test_a_dangerous_tool_call_is_refused_in_a_whole_answer(ran: Ran) -> None:
    heard = ran.heard["danger"]
    assert "error" not in heard
    assert not heard["tools"]
    assert "dangerous_command" in heard["text"]
    assert heard["finish"] == ran.case.end


def test_an_answer_that_is_blocked_raises(ran: Ran) -> None:
    error = ran.error("canary")
    family = ran.case.family
    assert error["names"][0] == (family.broken if ran.case.streams else family.bad)
    assert "canary_leak" in error["message"]
    assert CANARY not in error["message"]
    assert ran.heard["canary"]["text"] == (BEFORE if ran.case.streams else "")


def test_what_is_signed_is_refused_rather_than_changed(signed: Ran) -> None:
    for prompt in ("mail", "secret", "arguments"):
        error = signed.error(prompt)
        assert error["names"][0] == BEDROCK.bad
        assert "SigV4" in error["message"]
    assert MAIL not in signed.bodies()
    assert SECRET not in signed.bodies()
    assert signed.heard["call"]["tools"] == [["run_shell", {"command": "ls -l src"}]]
    assert not signed.heard["danger"]["tools"]
    assert len(signed.rows) == len(PROMPTS)


def test_the_message_names_a_command_that_works(signed: Ran, bench: Bench) -> None:
    shown = SHOW.search(signed.error("attack")["message"])
    assert shown
    assert "prompt_injection" in bench.shown(shown[1])
