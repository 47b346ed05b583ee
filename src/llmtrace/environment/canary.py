"""Calls through the gateway, one with each runtime that is here, to a host that is nobody's.

The gateway answers ``CANARY_PATH`` of any governed host by itself. The host is beneath a
provider's domain, so that it is treated as one, and has no address: a runtime that passes the
gateway by fails to find it, and reaches nobody.
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from llmtrace.environment.checks import Check, fail, ok
from llmtrace.environment.clients import Found, without_banner

CANARY_PATH: Final = "/.well-known/llmtrace-canary"
URL: Final = f"https://llmtrace-canary.api.openai.com{CANARY_PATH}"
ANSWER: Final = "llmtrace"
SECONDS: Final = 20

_PYTHON: Final = "import sys, urllib.request as u; print(u.urlopen(sys.argv[1]).read().decode())"
_NODE: Final = (
    "fetch(process.argv[1]).then(r => r.text()).then(console.log, e => {"
    " console.error(e.cause?.code ?? '', e.cause?.message ?? e.message); process.exit(1); })"
)
_JAVA: Final = """
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse.BodyHandlers;

class Canary {
    public static void main(String[] arguments) throws Exception {
        var request = HttpRequest.newBuilder(URI.create(arguments[0])).build();
        var client = HttpClient.newHttpClient();
        var answer = client.send(request, BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.body());
    }
}
"""

COMMANDS: Final[Mapping[str, tuple[str, ...]]] = {
    "python": ("python3", "-c", _PYTHON, URL),
    "node": ("node", "-e", _NODE, URL),
    "curl": ("curl", "-sS", URL),
    "java": ("java", "{file}", URL),
}
"""How each runtime makes the call; ``{file}`` is a file with the Java source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What words in a runtime's error mean."""

    words: tuple[str, ...]
    detail: str
    fix: str


MEANINGS: Final = (
    Meaning(
        words=("certificate", "pkix", "unable_to_verify", "self_signed", "unknown ca"),
        detail="does not trust the CA",
        fix="start it with 'llmtrace run', or put the CA into the system: llmtrace ca install",
    ),
    Meaning(
        words=("enotfound", "eai_again", "could not resolve", "name or service", "unresolved",
               "unknownhost", "nodename", "name resolution"),
        detail="passes the gateway by: it looked for the host itself",
        fix="see its entry under 'clients', or use base-URL mode (reverse.listen)",
    ),
    Meaning(
        words=("407", "proxy auth", "authentication required"),
        detail="sends no LLMTrace key to the proxy, which asks for one (auth.enabled)",
        fix="use base-URL mode (reverse.listen) with the key as the API key",
    ),
    Meaning(
        words=("refused", "timed out", "timeout", "reset"),
        detail="does not reach the gateway",
        fix="start the gateway anew; look at its log",
    ),
)  # fmt: skip

type Call = Callable[[tuple[str, ...], Mapping[str, str]], tuple[int, str]]
"""Runs a command in an environment; returns its exit code and what it said on both outputs."""


def check_canary(
    runtimes: Mapping[str, Found | None], environ: Mapping[str, str], call: Call
) -> Iterator[Check]:
    """Make the call with each of ``runtimes`` (keys of ``COMMANDS``) in ``environ``."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder, "Canary.java")
        source.write_text(_JAVA, encoding="utf-8")
        for key, found in runtimes.items():
            command = tuple(word.replace("{file}", str(source)) for word in COMMANDS[key])
            yield judge(key, found, *call(command, environ))


def judge(key: str, found: Found | None, code: int, said: str) -> Check:
    """Say what a runtime's answer means."""
    name = f"{key} {found.version}".strip() if found else key
    if code == 0 and ANSWER in said.split():
        return ok("canary", name, "a call through the gateway was answered by it")
    if found and found.rule:
        return fail("canary", name, found.rule.why, found.rule.fix)
    said = without_banner(said)
    low = said.lower()
    for meaning in MEANINGS:
        if any(word in low for word in meaning.words):
            return fail("canary", name, meaning.detail, meaning.fix)
    last = said.strip().splitlines()[-1:] or [f"exit code {code}"]
    fix = "run it by hand: llmtrace run -- " + key
    return fail("canary", name, f"failed: {last[0][:160]}", fix)


def call(command: tuple[str, ...], environ: Mapping[str, str]) -> tuple[int, str]:
    """Run a command for at most ``SECONDS``."""
    try:
        done = subprocess.run(  # noqa: S603  from the table above
            command,
            env=dict(environ),
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=SECONDS,
            text=True,
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return 124, f"timed out after {SECONDS} s"
    except OSError as error:
        return 127, error.strerror or str(error)
    return done.returncode, f"{done.stdout}\n{done.stderr}"
