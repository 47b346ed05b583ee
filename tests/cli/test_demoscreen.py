import io
import re
from pathlib import Path

import pytest
from rich.console import Console

from llmtrace.cli.demoscreen import Screen
from llmtrace.domain.answers import Channel, ChannelKind, ToolCall
from llmtrace.domain.findings import Finding, Severity, Verdict
from llmtrace.domain.traces import ActionType, AgentAction
from llmtrace.testing.incidents import Changed
from llmtrace.testing.records import a_trace
from llmtrace.testing.scenario import STEPS, StepResult

ACTION = AgentAction(
    action_type=ActionType.TOOL_CALL, name="run_shell", arguments='{"command": "ls\x1b[2J"}'
)


def screen(width: int = 80, *, terminal: bool = False) -> tuple[Screen, io.StringIO]:
    file = io.StringIO()
    console = Console(
        file=file, width=width, highlight=False, soft_wrap=True, force_terminal=terminal,
        color_system="standard" if terminal else None, _environ={},
    )  # fmt: skip
    return Screen(console), file


def show_a_call(shown: Screen, words: str = "I will look at the log first.") -> None:
    shown.call(1, STEPS[0])
    for piece in re.findall(r"\s*\S+", words):
        shown.text(piece)
    result = StepResult(step=STEPS[0], status=200, trace_id="x")
    shown.seen(result, a_trace(1, actions=(ACTION,)))


def test_a_call_with_its_answer_its_action_and_its_numbers() -> None:
    shown, file = screen()
    show_a_call(shown)
    text = file.getvalue()
    for said in ("1 Claude explains, streamed", "I will look at the log first.\n",
                 'asks for run_shell {"command": "ls\\x1b[2J"}',
                 "900 tokens in (400 cached), 100 out", "$0.0013", "first token 180 ms",
                 "trace 0195f000-0000-7000-8000-000000000001"):  # fmt: skip
        assert said in text


HIDDEN = Finding(
    kind="secret.token", severity=Severity.HIGH, confidence=0.99, location="messages[0].content",
    start=0, end=40, detector="secrets.github", verdict=Verdict.REDACT, rule="balanced.secrets",
)  # fmt: skip


def test_an_incident_tells_who_was_given_what_and_which_rule_decided() -> None:
    shown, file = screen()
    call = ToolCall(
        channel=Channel(choice=0, kind=ChannelKind.TOOL_CALL), call_id="c", name="write_file",
        arguments='{"content": "the token"}',
    )  # fmt: skip
    result = StepResult(step=STEPS[0], status=200, text="Done.", tool_calls=(call,))
    trace = a_trace(1, actions=(ACTION,), findings=(HIDDEN, HIDDEN), verdict=Verdict.REDACT)
    shown.incident(result, trace, Changed(sent=("one", "two"), received=("\x1b[2Jother",)))
    assert file.getvalue().splitlines()[:7] == [
        "  agent sent    one",
        "                two",
        "  provider got  \\x1b[2Jother",
        '  model asked   run_shell {"command": "ls\\x1b[2J"}',
        "  agent got     Done.",
        '                write_file {"content": "the token"}',
        "  found         secret.token, high: redact, by rule balanced.secrets",
    ]
    shown.summary(
        [trace], {"run": "llmtrace run", "explain": "llmtrace findings show x"}, keep=False
    )
    assert "The policy hid values in 1." in file.getvalue()
    assert "  llmtrace findings show x\n" in file.getvalue()


@pytest.mark.parametrize("width", [40, 80, 200])
def test_no_line_of_an_incident_is_wider_than_the_screen(width: int) -> None:
    shown, file = screen(width)
    shown.policy()
    change = Changed(sent=("word " * 60, "x" * 300), received=())
    shown.incident(
        StepResult(step=STEPS[0], text="word " * 60), a_trace(findings=(HIDDEN,)), change
    )
    assert max(map(len, file.getvalue().splitlines())) <= max(width, len("  trace ") + 36)


def test_an_incident_without_a_record_is_said() -> None:
    shown, file = screen()
    shown.incident(StepResult(step=STEPS[0], error="status 503"), None, None)
    assert file.getvalue() == "  status 503\n  the gateway has no record of it\n"


def test_a_piece_is_on_the_screen_before_the_next_one_comes() -> None:
    shown, file = screen()
    shown.text("The")
    assert file.getvalue() == "  The"
    shown.text(" build")
    assert file.getvalue() == "  The build"
    shown.text("ing")
    assert file.getvalue() == "  The building"


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_no_line_of_an_answer_is_wider_than_the_screen(width: int) -> None:
    shown, file = screen(width)
    for _ in range(60):
        shown.text(" word\nmore")
    assert all(len(line) <= width for line in file.getvalue().splitlines())


def test_a_pipe_gets_no_colours_and_a_screen_does() -> None:
    for terminal in (False, True):
        shown, file = screen(terminal=terminal)
        shown.hello(Path("/demo"))
        with shown.waiting("starting"):
            shown.started("http://127.0.0.1:1", 9)
        show_a_call(shown)
        shown.summary([a_trace()], {"run": "llmtrace run -- x"}, keep=False)
        assert ("\x1b" in file.getvalue()) is terminal


def test_what_went_wrong_is_said() -> None:
    shown, file = screen()
    shown.seen(StepResult(step=STEPS[0], error="ConnectError: refused"), None)
    assert "ConnectError: refused" in file.getvalue()
    assert "the gateway has no record of it" in file.getvalue()


def test_a_long_command_is_broken_where_a_shell_reads_on() -> None:
    shown, file = screen(40)
    command = "LLMTRACE_HOME=/a/long/folder llmtrace traces show 0195f000"
    shown.summary([], {"show": command, "run": "llmtrace run"}, keep=False)
    assert (
        "  LLMTRACE_HOME=/a/long/folder \\\n    llmtrace traces show 0195f000\n" in file.getvalue()
    )


def test_what_is_kept_running_can_be_called() -> None:
    shown, file = screen()
    shown.summary([a_trace(cost_nano_usd=None)], {"env": 'eval "$(llmtrace env)"'}, keep=True)
    text = file.getvalue()
    assert "Ctrl-C" in text
    assert 'eval "$(llmtrace env)"' in text
    assert "curl https://api.openai.com" in text
    assert "1 without a known price" in " ".join(text.split())
