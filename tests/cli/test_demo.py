import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from llmtrace.cli import demo as module
from llmtrace.cli.demo import MARK, Seen, make_anew
from llmtrace.domain.findings import Verdict
from llmtrace.domain.traces import Outcome
from llmtrace.environment.home import Home
from llmtrace.testing.incidents import TOKEN
from llmtrace.testing.records import a_trace
from llmtrace.testing.scenario import STEPS, StepResult

type Run = Callable[..., Result]


@pytest.fixture
def place(tmp_path: Path) -> Home:
    return Home(tmp_path / "home" / "demo")


def test_the_folder_is_made_and_private(place: Home) -> None:
    make_anew(place)
    assert place.path.stat().st_mode & 0o777 == 0o700


def test_a_former_demo_is_replaced(place: Home) -> None:
    make_anew(place)
    place.database.write_text("old")
    make_anew(place)
    assert [path.name for path in place.path.iterdir()] == [MARK]


def test_somebody_elses_folder_is_left_alone(place: Home) -> None:
    place.path.mkdir(parents=True)
    (place.path / "thesis.txt").write_text("mine")
    with pytest.raises(RuntimeError, match="was not made by a demo"):
        make_anew(place)
    assert (place.path / "thesis.txt").exists()


def test_a_demo_that_runs_is_left_alone(place: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    make_anew(place)
    state = place.path / "gateway.json"
    state.write_text(json.dumps({"api": "127.0.0.1:9", "pid": 7}))
    said: dict[str, Any] = {"pid": 7}
    monkeypatch.setattr(module, "health", lambda _: said)
    with pytest.raises(RuntimeError, match="runs already"):
        make_anew(place)
    said["pid"] = 8  # the port is another gateway's now
    make_anew(place)


@pytest.mark.parametrize("state", ["", "[]", "{", '{"pid": 1}', '{"api": 3}', '{"api": "x"}'])
def test_a_state_that_cannot_be_read_is_no_running_demo(place: Home, state: str) -> None:
    make_anew(place)
    (place.path / "gateway.json").write_text(state)
    make_anew(place)
    assert not (place.path / "gateway.json").exists()


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, run: Run) -> None:
    (tmp_path / "home").write_text("a file")
    done = run("demo")
    assert done.exit_code == 1
    assert "demo cannot be made anew: Not a directory; set LLMTRACE_HOME" in done.stderr


def test_a_gateway_that_does_not_start_is_told_with_its_last_words(
    home: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, at: Home) -> None:
        (at.path / "gateway.log").write_text("first\nthe disk is full\n")
        raise OSError("the gateway did not start")

    monkeypatch.setattr(module, "start_gateway", fail)
    done = run("demo")
    assert done.exit_code == 1
    assert done.stderr.endswith("Error: the gateway did not start\nthe disk is full\n")


def a_result(verdict: Verdict, error: str = "") -> StepResult:
    return StepResult(step=replace(STEPS[0], verdict=verdict), error=error)


@pytest.mark.parametrize(
    ("seen", "well"),
    [
        pytest.param(Seen(result=a_result(Verdict.ALLOW), trace=a_trace()), True, id="as-it-came"),
        pytest.param(Seen(result=a_result(Verdict.ALLOW), trace=None), False, id="not-recorded"),
        pytest.param(
            Seen(result=a_result(Verdict.ALLOW, "refused"), trace=a_trace()), False, id="failed"
        ),
        pytest.param(
            Seen(result=a_result(Verdict.REDACT), trace=a_trace()), False, id="a-token-went-out"
        ),
        pytest.param(
            Seen(result=a_result(Verdict.BLOCK), trace=a_trace(verdict=Verdict.BLOCK)),
            False,
            id="blocked-in-words-only",
        ),
        pytest.param(
            Seen(
                result=a_result(Verdict.BLOCK),
                trace=a_trace(verdict=Verdict.BLOCK, outcome=Outcome.STOPPED),
            ),
            True,
            id="blocked",
        ),
    ],
)
def test_a_demo_fails_where_a_call_is_not_judged_as_it_should_be(seen: Seen, well: bool) -> None:
    assert seen.well is well


@pytest.mark.slow
def test_the_demo_shows_what_a_gateway_sees_and_does(home: Path, run: Run) -> None:
    done = run("demo", "--json")
    assert done.exit_code == 0, done.stderr
    said = json.loads(done.stdout)
    calls = said["calls"]
    assert len({call["dialect"] for call in calls}) == 6
    assert [call["outcome"] for call in calls] == ["ok"] * 8 + ["stopped"]
    assert [call["verdict"] for call in calls] == ["allow"] * 6 + ["redact", "quarantine", "block"]
    assert all(call["output_tokens"] for call in calls)
    assert str(home / "demo") in said["commands"]["show"]
    acting = next(call["trace_id"] for call in calls if call["actions"])
    place = str(home / "demo")
    shown = run("traces", "show", acting, LLMTRACE_HOME=place).stdout
    assert "tail -n 20 build.log" in shown
    assert "user  How does the build log end?" in shown
    explained = run("findings", "show", calls[-1]["trace_id"], LLMTRACE_HOME=place).stdout
    assert "block, by rule balanced.commands" in explained
    assert said["commands"]["explain"].endswith(f"findings show {calls[-1]['trace_id']}")
    assert TOKEN not in done.stdout  # neither where it is recorded, nor by accident
    for line in ("provider got  token = ", "set this content aside", "blocked this tool call"):
        assert line in done.stderr
