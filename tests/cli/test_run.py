import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from llmtrace.cli import run as module
from llmtrace.cli.run import run
from llmtrace.config import Config
from llmtrace.config.digest import digests
from llmtrace.domain.findings import Verdict
from llmtrace.domain.ids import new_trace_id
from llmtrace.domain.traces import Record, Trace
from llmtrace.domain.usage import Usage
from llmtrace.environment.gateway import RunKey, RunServices, no_key
from llmtrace.environment.home import Home
from llmtrace.environment.program import program
from llmtrace.environment.sharing import Sharing
from llmtrace.storage.base import Storage
from llmtrace.storage.memory import (
    MemoryCache,
    MemoryMetadataRepository,
    MemoryTraceRepository,
)
from llmtrace.testing.records import a_finding

PYTHON = sys.executable
DUMP = "import json, os, sys; json.dump(dict(os.environ), open(sys.argv[1], 'w'))"


@dataclass
class FakeGateway:
    """Starts nothing; its store gets one call per stop if ``calls`` says so."""

    traces: MemoryTraceRepository
    dump: Path
    calls: int = 0
    verdicts: tuple[Verdict, ...] = ()
    upstream: list[str | None] = field(default_factory=list)
    stopped: int = 0
    left: int = 0
    proxy_url: str = "http://127.0.0.1:9999"
    missing: tuple[str, ...] = ()

    def start(self, config: Config, *, upstream_proxy: str | None) -> "FakeGateway":
        self.upstream.append(upstream_proxy)
        return self

    def degraded(self) -> tuple[str, ...]:
        return self.missing

    def stop(self) -> None:
        self.stopped += 1
        name = self.environ().get("LLMTRACE_RUN_ID", "") if self.dump.exists() else ""
        self.traces.put([call(name) for _ in range(self.calls)])
        self.traces.put([call(name, verdict) for verdict in self.verdicts])

    def leave(self) -> None:
        self.left += 1

    def environ(self) -> Mapping[str, str]:
        return dict(json.loads(self.dump.read_text()))

    def services(self, run_key: Callable[[Config, str], RunKey] = no_key) -> RunServices:
        def opened(_: Config) -> Storage:
            return Storage(
                traces=self.traces, metadata=MemoryMetadataRepository(), cache=MemoryCache()
            )

        return RunServices(start_gateway=self.start, open_storage=opened, run_key=run_key)


def call(name: str, verdict: Verdict = Verdict.ALLOW) -> Record:
    found = (replace(a_finding("secret.token"), verdict=verdict),)
    return Record(
        trace=Trace(
            trace_id=new_trace_id(),
            started_at=datetime.now(UTC),
            tenant="t",
            agent="a",
            run=name,
            model="claude-test",
            usage=Usage(input_tokens=1200, output_tokens=34, cache_read_tokens=1000),
            cost_nano_usd=12_300_000,
            verdict=verdict,
            findings=found if verdict is not Verdict.ALLOW else (),
        )
    )


@pytest.fixture
def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeGateway]:
    for name in list(os.environ):
        if name.upper().endswith(("_PROXY", "_CA_BUNDLE")) or name.startswith("LLMTRACE_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("LLMTRACE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(module, "health", lambda _listen: None)
    made = FakeGateway(MemoryTraceRepository(), tmp_path / "environ.json")
    yield made
    made.traces.close()


def invoke(gateway: FakeGateway, *words: str, **options: Any) -> Result:
    return CliRunner().invoke(run, words, obj=gateway.services(), **options)


def dumping(gateway: FakeGateway) -> tuple[str, ...]:
    return ("--no-java", "--", PYTHON, "-c", DUMP, str(gateway.dump))


def test_the_block_is_set_for_the_child_and_the_gateway_is_stopped(gateway: FakeGateway) -> None:
    result = invoke(gateway, *dumping(gateway))
    assert result.exit_code == 0, result.output
    seen = gateway.environ()
    assert seen["HTTPS_PROXY"].startswith(f"http://{seen['LLMTRACE_RUN_ID']}:")
    assert seen["HTTPS_PROXY"].endswith("@127.0.0.1:9999")
    assert Path(seen["NODE_EXTRA_CA_CERTS"]).is_file()
    assert "HTTPS_PROXY" not in os.environ
    assert gateway.stopped == 1
    assert gateway.upstream == [None]


def test_what_was_seen_is_said_in_a_few_lines(gateway: FakeGateway) -> None:
    gateway.calls = 2
    result = invoke(gateway, *dumping(gateway))
    assert result.stdout == ""
    assert "2 calls  claude-test x2  2,400 tokens in (2,000 cached), 68 out  $0.0246" in (
        result.stderr
    )
    assert "NO CALL" not in result.stderr
    assert "\x1b" not in result.stderr


@pytest.mark.parametrize(
    ("verdicts", "said"),
    [
        pytest.param((), "", id="nothing-found"),
        pytest.param(
            (Verdict.FLAG,), "1 finding: 1 high; recorded, nothing was changed", id="observed"
        ),
        pytest.param(
            (Verdict.REDACT, Verdict.BLOCK, Verdict.QUARANTINE, Verdict.REDACT),
            "4 findings: 4 high; 1 call blocked, text set aside in 1 call, "
            "values masked in 2 calls",
            id="enforced",
        ),
    ],
)
def test_what_was_found_is_said(
    verdicts: tuple[Verdict, ...], said: str, gateway: FakeGateway
) -> None:
    gateway.calls, gateway.verdicts = 1, verdicts
    stderr = invoke(gateway, *dumping(gateway)).stderr
    assert said in stderr
    assert ("finding" in stderr) is bool(verdicts)
    assert (f"explained: {program()} findings show " in stderr) is bool(verdicts)


def test_quiet_says_nothing_of_what_went_well(gateway: FakeGateway) -> None:
    gateway.calls = 1
    invoke(gateway, *dumping(gateway))
    assert "calls" not in invoke(gateway, "--quiet", *dumping(gateway)).stderr


def test_no_call_is_said_loudly_with_the_reason(gateway: FakeGateway) -> None:
    result = invoke(gateway, "--quiet", *dumping(gateway))
    assert result.exit_code == 0
    assert "NO CALL WAS SEEN" in result.stderr
    assert "trust_env=True" in result.stderr


def test_calls_without_a_runs_name_are_not_passed_over(gateway: FakeGateway) -> None:
    gateway.calls = 1
    result = invoke(gateway, "--no-java", "--", PYTHON, "-c", "pass")
    assert "1 call came meanwhile without the name of a run" in result.stderr


@pytest.mark.parametrize(
    ("script", "code"),
    [("import sys; sys.exit(5)", 5), ("import os; os.kill(os.getpid(), 15)", 143)],
)
def test_the_exit_code_is_the_childs(script: str, code: int, gateway: FakeGateway) -> None:
    result = invoke(gateway, "--no-java", "--", PYTHON, "-c", script)
    assert result.exit_code == code
    assert gateway.stopped == 1
    ended, none = (result.stderr.find(s) for s in (f"the command ended with {code}", "NO CALL"))
    assert 0 <= ended < none


def test_a_command_that_is_not_there_is_said_and_the_gateway_is_stopped(
    gateway: FakeGateway,
) -> None:
    result = invoke(gateway, "--no-java", "--", "llmtrace-no-such-program")
    assert result.exit_code == 127
    assert "no such program" in result.stderr
    assert gateway.stopped == 1


def test_the_users_proxy_becomes_the_gateways(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://u:s3cret@corp:3128")
    result = invoke(gateway, *dumping(gateway))
    assert gateway.upstream == ["http://u:s3cret@corp:3128"]
    assert "s3cret" not in result.output
    assert "corp" not in gateway.environ()["HTTPS_PROXY"]


def test_a_gateway_that_runs_is_used_and_left_running(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "health", lambda _listen: {"status": "ok"})
    monkeypatch.setattr("llmtrace.cli.run.time.sleep", lambda _: None)
    result = invoke(gateway, *dumping(gateway))
    assert gateway.environ()["HTTPS_PROXY"].endswith("@127.0.0.1:8642")
    assert (gateway.upstream, gateway.stopped) == ([], 0)
    assert "NO CALL" in result.stderr


def test_a_gateway_that_another_run_uses_is_left_to_it(
    gateway: FakeGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Sharing(Home(tmp_path / "home"))

    def joining(*_: object) -> int:
        other.begin(lambda: None)
        return 0

    monkeypatch.setattr(module, "run_child", joining)
    monkeypatch.setattr("llmtrace.cli.run.time.sleep", lambda _: None)
    result = invoke(gateway, *dumping(gateway))
    other.end(None)
    assert result.exit_code == 0, result.output
    assert (len(gateway.upstream), gateway.left, gateway.stopped) == (1, 1, 0)


def test_a_gateway_that_looks_for_less_than_is_configured_is_said(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    gateway.missing = ("model a/b: not in the cache",)
    said = "less is looked for than is configured: model a/b: not in the cache"
    assert said in invoke(gateway, "--quiet", *dumping(gateway)).stderr
    answer = {"status": "degraded", "degraded": list(gateway.missing)}
    monkeypatch.setattr(module, "health", lambda _listen: answer)
    monkeypatch.setattr("llmtrace.cli.run.time.sleep", lambda _: None)
    assert said in invoke(gateway, *dumping(gateway)).stderr


def test_a_gateway_with_another_ca_is_refused(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "health", lambda _listen: {"ca_fingerprint": "AB:CD"})
    result = invoke(gateway, *dumping(gateway))
    assert result.exit_code == 1
    assert "another CA" in result.output
    assert not gateway.dump.exists()


ENFORCED = {"pid": 7, "configuration": digests(Config(mode="enforce"))}
OBSERVING = {"pid": 7, "configuration": digests(Config())}


@pytest.mark.parametrize(
    ("running", "text", "variables", "refused"),
    [
        pytest.param(OBSERVING, "mode: enforce\n", {}, True, id="enforcement-asked-for"),
        pytest.param(ENFORCED, "mode: observe\n", {}, True, id="a-file-that-asks-for-less"),
        pytest.param(OBSERVING, "", {"LLMTRACE_MODE": "enforce"}, True, id="by-variable"),
        pytest.param(ENFORCED, "mode: enforce\nworkers: 1\n", {}, False, id="the-same"),
        pytest.param(ENFORCED, "", {}, False, id="nothing-asked-for"),
        pytest.param({}, "mode: enforce\n", {}, False, id="it-does-not-say"),
    ],
)
@pytest.mark.parametrize("only_print", [False, True], ids=["run", "print"])
def test_a_gateway_with_another_configuration_than_was_asked_for_is_refused(
    running: dict[str, object],
    text: str,
    variables: dict[str, str],
    refused: bool,
    only_print: bool,
    gateway: FakeGateway,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "asked.yaml"
    file.write_text(text)
    monkeypatch.setattr(module, "health", lambda _listen: running)
    monkeypatch.setattr("llmtrace.cli.run.time.sleep", lambda _: None)
    options = ("--config", str(file)) if text else ()
    words = ("--print", "--no-java") if only_print else dumping(gateway)
    result = invoke(gateway, *options, *words)
    assert result.exit_code == (1 if refused else 0), result.output
    if refused:
        than = str(file) if text else "LLMTRACE_* variables"
        assert than in result.stderr
        assert "they differ in mode; stop it (process 7), or " in result.stderr
        assert not gateway.dump.exists()


def test_a_gateway_that_does_not_start_is_one_line(gateway: FakeGateway) -> None:
    def broken(config: Config, *, upstream_proxy: str | None) -> FakeGateway:
        raise RuntimeError("port 8642 is taken")

    services = RunServices(start_gateway=broken, open_storage=gateway.services().open_storage)
    result = CliRunner().invoke(run, ("--no-java", "--", "true"), obj=services)
    assert result.exit_code == 1
    assert result.stderr.endswith("Error: port 8642 is taken\n")


@dataclass
class Keys:
    """Makes keys; ``revoked`` says which are of no use any more."""

    fails: bool = False
    made: list[str] = field(default_factory=list)
    revoked: list[str] = field(default_factory=list)

    def make(self, _config: Config, run: str) -> RunKey:
        def revoke() -> None:
            if self.fails:
                raise RuntimeError("locked, says the test")
            self.revoked.append(run)

        self.made.append(run)
        return RunKey(token=f"llmt_{run}", revoke=revoke)


@pytest.mark.parametrize("fails", [False, True], ids=["revoked", "cannot-be-revoked"])
def test_where_keys_are_asked_for_a_run_has_one_of_its_own_while_it_lasts(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, fails: bool
) -> None:
    monkeypatch.setenv("LLMTRACE_AUTH_ENABLED", "true")
    keys = Keys(fails)
    result = CliRunner().invoke(run, dumping(gateway), obj=gateway.services(keys.make))
    assert result.exit_code == 0
    name = gateway.environ()["LLMTRACE_RUN_ID"]
    assert gateway.environ()["HTTPS_PROXY"] == f"http://{name}:llmt_{name}@127.0.0.1:9999"
    assert keys.made == [name]
    assert keys.revoked == ([] if fails else [name])
    assert ("could not be revoked" in result.stderr) == fails
    assert f"llmt_{name}" not in result.output


@pytest.mark.parametrize("asks", [False, True], ids=["open", "asks-for-keys"])
def test_a_gateway_that_runs_says_whether_it_asks_for_keys(
    gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch, asks: bool
) -> None:
    monkeypatch.setattr(module, "health", lambda _listen: {"status": "ok", "auth": asks})
    monkeypatch.setattr("llmtrace.cli.run.time.sleep", lambda _: None)
    keys = Keys()
    CliRunner().invoke(run, dumping(gateway), obj=gateway.services(keys.make))
    assert len(keys.made) == len(keys.revoked) == asks


def test_a_printed_key_stays_good(gateway: FakeGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LLMTRACE_AUTH_ENABLED", "true")
    keys = Keys()
    words = ("--print", "--no-java")
    result = CliRunner().invoke(run, words, obj=gateway.services(keys.make))
    assert f":llmt_{keys.made[0]}@" in result.stdout
    assert keys.revoked == []


def test_print_shows_the_block_and_runs_nothing(gateway: FakeGateway) -> None:
    result = invoke(gateway, "--print", "--no-java")
    assert result.exit_code == 0
    assert "export HTTPS_PROXY='http://" in result.stdout
    assert gateway.upstream == []


def test_a_misspelt_option_is_no_command(gateway: FakeGateway) -> None:
    result = invoke(gateway, "--foo", "--", "true")
    assert result.exit_code == 2
    assert "No such option" in result.stderr
    assert gateway.upstream == []


def test_no_command_is_an_error_that_shows_how(gateway: FakeGateway) -> None:
    result = invoke(gateway)
    assert result.exit_code == 2
    assert "llmtrace run -- claude" in result.stderr
