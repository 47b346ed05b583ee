import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import Result

from llmtrace.domain.traces import Outcome, Record, Texts
from llmtrace.storage.registry import build, close
from llmtrace.storage.spool import SpoolWriter
from llmtrace.testing.records import a_record, a_trace, numbered_id

type Keep = Callable[..., None]
type Run = Callable[..., Result]

DESIGNED = (
    "trace_id", "started_at", "tenant", "agent", "provider", "dialect", "model", "status",
    "verdict", "input_tokens", "output_tokens", "cost_usd", "duration_ms", "ttft_ms",
)  # fmt: skip
HOSTILE = "a\0b\x1b[2J\u202ec"


def ids(output: str) -> list[str]:
    return [row["trace_id"] for row in json.loads(output)]


def test_calls_are_listed_newest_first(keep: Keep, run: Run) -> None:
    keep(a_record(1), a_record(2))
    done = run("traces", "list")
    assert done.exit_code == 0
    assert [line[-36:] for line in done.stdout.splitlines()[1:]] == [
        numbered_id(2),
        numbered_id(1),
    ]


def test_rows_of_json_have_the_names_that_scripts_rely_on(keep: Keep, run: Run) -> None:
    keep(a_record(1))
    (row,) = json.loads(run("traces", "list", "--json").stdout)
    assert set(DESIGNED) <= set(row)
    assert row["cost_usd"] == 0.00125
    assert row["started_at"] == "2026-03-04T12:00:00+00:00"


def test_a_pipe_gets_one_line_a_call_and_no_colours(keep: Keep, run: Run) -> None:
    keep(a_record(1, model_answered="m" * 200))
    lines = run("traces", "list", COLUMNS="20").stdout.splitlines()
    assert len(lines) == 2
    assert "m" * 200 in lines[1]
    assert "\x1b" not in "".join(lines)


def test_control_characters_are_seen_and_do_nothing(keep: Keep, run: Run) -> None:
    keep(a_record(1, model_answered=HOSTILE, agent=HOSTILE, error=HOSTILE))
    for words in (("list",), ("show", numbered_id(1))):
        output = run("traces", *words).stdout
        assert "a\\x00b\\x1b[2J\\u202ec" in output
        assert not {"\0", "\x1b", "\u202e"} & set(output)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["--agent", "other"], [3], id="agent"),
        pytest.param(["--outcome", "refused"], [2], id="outcome"),
        pytest.param(["--text", "GOOD day"], [3, 2, 1], id="words"),
        pytest.param(["--text", "nowhere"], [], id="no-such-words"),
        pytest.param(["--limit", "1"], [3], id="limit"),
        pytest.param(["--before-id", numbered_id(2)], [1], id="next-page"),
        pytest.param(["--since", "2026-03-04T12:00:00Z", "--until", "2026-03-05"], [3, 2, 1]),
        pytest.param(["--since", "1h"], [], id="since-then-nothing"),
    ],
)
def test_calls_are_filtered(keep: Keep, run: Run, words: list[str], expected: list[int]) -> None:
    keep(a_record(1), a_record(2, outcome=Outcome.REFUSED), a_record(3, agent="other"))
    done = run("traces", "list", "--json", *words)
    assert ids(done.stdout) == [numbered_id(number) for number in expected]


@pytest.mark.parametrize("word", ["xyz", numbered_id(1)[:-1], numbered_id(1).replace("-", "")])
def test_what_is_no_id_of_a_call_is_refused(word: str, keep: Keep, run: Run) -> None:
    keep(a_record(1))
    done = run("traces", "list", "--before-id", word)
    assert done.exit_code == 2
    assert "is no id of a call" in done.stderr


def test_no_match_is_said_and_is_no_error(keep: Keep, run: Run) -> None:
    keep(a_record(1))
    done = run("traces", "list", "--model", "none")
    assert (done.exit_code, done.stdout) == (0, "")
    assert "no calls match" in done.stderr


@pytest.mark.parametrize("words", [["--since", "yesterday"], ["--limit", "0"], ["--outcome", "x"]])
def test_a_bad_option_is_exit_code_2(keep: Keep, run: Run, words: list[str]) -> None:
    keep(a_record(1))
    assert run("traces", "list", *words).exit_code == 2


@pytest.mark.parametrize("command", [["list"], ["show", "x"], ["export"], ["list", "--json"]])
def test_without_any_traces_the_way_to_some_is_said(run: Run, command: list[str]) -> None:
    done = run("traces", *command)
    assert done.exit_code == 1
    assert "there are no traces yet" in done.stderr
    assert "demo" in done.stderr


def test_a_configuration_that_keeps_nothing_is_named(run: Run) -> None:
    done = run("traces", "list", LLMTRACE_STORAGE_PROFILE="memory")
    assert done.exit_code == 1
    assert "storage.profile is memory" in done.stderr


def test_a_damaged_file_is_one_line_and_no_traceback(home: Path, run: Run) -> None:
    home.mkdir()
    (home / "llmtrace.db").write_bytes(b"no database at all " * 100)
    os.utime(home / "llmtrace.db", (0, 0))
    done = run("traces", "list")
    assert done.exit_code == 1
    assert "llmtrace.db" in done.stderr
    assert "Traceback" not in done.output


def test_show_tells_what_is_known_and_what_was_said(keep: Keep, run: Run) -> None:
    keep(a_record(1, run="brave-otter-3f1a"))
    output = run("traces", "show", numbered_id(1)).stdout
    for said in ("POST api.openai.com/v1/chat/completions", "brave-otter-3f1a", "$0.0013",
                 "900 in (400 cached), 100 out", "first token after 180 ms", "139 tokens/s",
                 "9 bytes media", "conversation-1, turn 3", "user  hello"):  # fmt: skip
        assert said in output


def test_show_as_json_is_the_row_of_the_list(keep: Keep, run: Run) -> None:
    keep(a_record(1))
    shown = json.loads(run("traces", "show", "--json", numbered_id(1)).stdout)
    assert [shown] == json.loads(run("traces", "list", "--json").stdout)


def test_a_body_is_written_as_it_was(keep: Keep, run: Run) -> None:
    record = a_record(1)
    keep(record)
    assert record.request is not None
    done = run("traces", "show", numbered_id(1), "--body", "request")
    assert done.stdout_bytes == record.request.content


def test_a_body_that_was_not_kept_is_an_error(keep: Keep, run: Run) -> None:
    keep(Record(trace=a_trace(1)))
    done = run("traces", "show", numbered_id(1), "--body", "answer")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "no answer body is kept" in done.stderr
    assert run("traces", "show", numbered_id(1)).exit_code == 0


@pytest.mark.parametrize("trace_id", ["019ab0c2", "\x1b[2J", "x" * 999, ""])
def test_an_unknown_id_is_exit_code_1(keep: Keep, run: Run, trace_id: str) -> None:
    keep(a_record(1))
    done = run("traces", "show", trace_id)
    assert done.exit_code == 1
    assert "there is no trace" in done.stderr
    assert "\x1b" not in done.stderr
    assert len(done.stderr) < 300


def test_tail_tells_what_comes_while_it_looks(home: Path, keep: Keep, run: Run) -> None:
    keep(a_record(1))
    storage = build("lite", database_path=home / "llmtrace.db", synchronous="NORMAL")
    new = replace(a_record(2).trace, started_at=datetime.now(UTC))
    writer = threading.Timer(0.3, storage.traces.put, [[Record(trace=new)]])
    writer.start()
    done = run("traces", "tail", "--seconds", "1.2", "--json")
    writer.join()
    close(storage)
    assert [json.loads(line)["trace_id"] for line in done.stdout.splitlines()] == [numbered_id(2)]


def test_tail_waits_for_the_first_call(home: Path, keep: Keep, run: Run) -> None:
    writer = threading.Timer(0.2, keep, [a_record(1)])
    writer.start()
    done = run("traces", "tail", "--seconds", "1.5")
    writer.join()
    assert "waiting for the first call" in done.stderr
    assert done.exit_code == 0


def test_export_writes_all_that_match_oldest_first(keep: Keep, run: Run) -> None:
    keep(*(a_record(number) for number in range(250)))
    rows = [json.loads(line) for line in run("traces", "export").stdout.splitlines()]
    assert [row["trace_id"] for row in rows] == [numbered_id(number) for number in range(250)]
    assert "request" not in rows[0]


def test_export_with_bodies_into_a_file_for_its_owner_alone(
    tmp_path: Path, keep: Keep, run: Run
) -> None:
    keep(a_record(1))
    path = tmp_path / "out.jsonl"
    assert run("traces", "export", "--bodies", "-o", path).exit_code == 0
    assert json.loads(path.read_text())["request"]["text"].startswith('{"messages"')
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_export_as_csv(keep: Keep, run: Run) -> None:
    keep(a_record(1))
    head, row = run("traces", "export", "--format", "csv").stdout.splitlines()
    assert head.startswith("trace_id,started_at")
    assert row.startswith(numbered_id(1))
    assert run("traces", "export", "--format", "csv", "--bodies").exit_code == 2


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path, keep: Keep, run: Run) -> None:
    keep(a_record(1))
    done = run("traces", "export", "-o", tmp_path / "none" / "out")
    assert done.exit_code == 1
    assert "cannot be written: No such file or directory" in done.stderr


def test_a_reader_that_leaves_is_no_traceback(home: Path, keep: Keep) -> None:
    texts = Texts(prompt="hello " * 200)
    keep(*(replace(a_record(n, error="x" * 2000), texts=texts) for n in range(200)))
    process = subprocess.Popen(
        [sys.executable, "-m", "llmtrace", "traces", "export"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait(20) == 1


def test_what_lies_in_the_journal_is_moved_first(home: Path, run: Run) -> None:
    record = a_record(7, started_at=datetime.now(UTC) - timedelta(seconds=5))
    spool = SpoolWriter(home / "spool", "worker-0", min_free_bytes=0)
    spool.open()
    assert spool.start_and_sent(replace(record.trace, outcome=Outcome.PENDING), record.request)
    assert spool.end(record)
    spool.close()
    assert ids(run("traces", "list", "--json").stdout) == [numbered_id(7)]
