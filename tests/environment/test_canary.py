import shutil
from collections.abc import Mapping

import pytest

from llmtrace.environment.canary import COMMANDS, URL, call, check_canary, judge
from llmtrace.environment.checks import Status
from llmtrace.environment.clients import examine
from llmtrace.providers.hosts import default_hosts


@pytest.mark.parametrize(
    ("code", "said", "detail"),
    [
        (1, "SSLCertVerificationError: certificate verify failed", "does not trust"),
        (1, "PKIX path building failed", "does not trust"),
        (1, "ENOTFOUND getaddrinfo ENOTFOUND llmtrace-canary", "passes the gateway by"),
        (6, "curl: (6) Could not resolve host", "passes the gateway by"),
        (56, "curl: (56) CONNECT tunnel failed, response 407", "sends no LLMTrace key"),
        (
            0,
            "407 \n\nPicked up JAVA_TOOL_OPTIONS: -Dhttp.proxyHost=127.0.0.1 -Dx=certificate",
            "sends no LLMTrace key",
        ),
        (1, "broken\nPicked up JAVA_TOOL_OPTIONS: -Dhttp.proxyHost=h", "failed: broken"),
        (7, "connect ECONNREFUSED 127.0.0.1", "does not reach"),
        (124, "timed out after 20 s", "does not reach"),
        (3, "line one\nsomething else", "failed: something else"),
        (3, "", "failed: exit code 3"),
        (0, "hello", "failed: hello"),
    ],
)
def test_an_error_is_put_in_plain_words_with_a_fix(code: int, said: str, detail: str) -> None:
    check = judge("curl", None, code, said)
    assert check.status is Status.FAIL
    assert detail in check.detail
    assert check.fix


def test_an_answer_counts_and_a_known_limit_explains_the_lack_of_one() -> None:
    old = examine("node", lambda _: "v20.1.0")
    assert judge("node", old, 0, "llmtrace\n\n").status is Status.OK
    assert "22.21" in judge("node", old, 1, "ENOTFOUND").detail


def test_each_runtime_is_asked_in_the_environment_given() -> None:
    seen: list[tuple[str, ...]] = []

    def fake(command: tuple[str, ...], environ: Mapping[str, str]) -> tuple[int, str]:
        seen.append(command)
        assert environ == {"A": "b"}
        return 0, "llmtrace\n"

    checks = list(check_canary(dict.fromkeys(COMMANDS), {"A": "b"}, fake))
    assert {check.status for check in checks} == {Status.OK}
    assert not [word for command in seen for word in command if word == "{file}"]
    assert all(command[-1] == URL for command in seen)


def test_the_host_is_governed() -> None:
    assert default_hosts().provider_of(URL.split("/")[2]) == "openai"


def test_a_program_that_cannot_run_is_an_answer_too() -> None:
    assert call(("llmtrace-no-such-program",), {})[0] == 127
    assert call((shutil.which("sh") or "sh", "-c", "echo llmtrace"), {}) == (0, "llmtrace\n\n")
