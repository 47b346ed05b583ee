import os
import pty
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmtrace.environment.child import CannotStart, run_child

WRAPPER = """
import os, sys
from llmtrace.environment.child import run_child
sys.exit(run_child(sys.argv[1:], os.environ))
"""
STREAMS = """
import os, sys
sys.stdout.write(sys.stdin.read())
sys.stderr.write("error\\n")
os.write(int(sys.argv[1]), b"extra\\n")
"""
AT_TERMINAL = """
import os, sys
os.login_tty(int(sys.argv[1]))
os.execv(sys.argv[2], sys.argv[2:])
"""
COUNTER = """
import signal, sys, time
seen = []
def note(number, _):
    seen.append(number)
for s in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(s, note)
print("ready", flush=True)
end = time.monotonic() + 10
while not seen and time.monotonic() < end:
    time.sleep(0.01)
time.sleep(0.2)
print("seen", *seen, flush=True)
sys.exit(7)
"""


@pytest.fixture(autouse=True)
def heeded_signals() -> Iterator[None]:
    """What the tests themselves were started to ignore (nohup, a job in the background)."""
    numbers = (signal.SIGINT, signal.SIGHUP)
    ignored = [number for number in numbers if signal.getsignal(number) is signal.SIG_IGN]
    for number in ignored:
        signal.signal(number, signal.SIG_DFL)
    yield
    for number in ignored:
        signal.signal(number, signal.SIG_IGN)


def wrapped(*command: str) -> tuple[str, ...]:
    return (sys.executable, "-c", WRAPPER, *command)


@pytest.mark.parametrize(
    ("script", "code"),
    [
        pytest.param("exit 0", 0, id="success"),
        pytest.param("exit 3", 3, id="own-code"),
        pytest.param("kill -TERM $$", 143, id="killed-by-term"),
        pytest.param("kill -KILL $$", 137, id="killed"),
    ],
)
def test_the_exit_code_is_the_childs(script: str, code: int) -> None:
    assert run_child(["sh", "-c", script], os.environ) == code


def test_the_environment_is_the_childs_alone() -> None:
    environ = {**os.environ, "LLMTRACE_TEST_VALUE": "it's"}
    assert run_child(["sh", "-c", 'test "$LLMTRACE_TEST_VALUE" = "it\'s"'], environ) == 0
    assert "LLMTRACE_TEST_VALUE" not in os.environ


def test_a_program_that_cannot_start_is_an_error_with_the_shells_code(tmp_path: Path) -> None:
    with pytest.raises(CannotStart, match="no such program") as missing:
        run_child(["llmtrace-no-such-program"], os.environ)
    (tmp_path / "plain").write_text("text")
    with pytest.raises(CannotStart, match="Permission denied") as plain:
        run_child([str(tmp_path / "plain")], os.environ)
    assert (missing.value.code, plain.value.code) == (127, 126)


def test_standard_streams_and_open_files_pass_through() -> None:
    reader, writer = os.pipe()
    os.set_inheritable(writer, True)
    done = subprocess.run(  # noqa: S603  this interpreter
        wrapped(sys.executable, "-c", STREAMS, str(writer)),
        input=b"in\n",
        capture_output=True,
        check=True,
        pass_fds=(writer,),
        timeout=30,
    )
    os.close(writer)
    with os.fdopen(reader, "rb") as extra:
        assert extra.read() == b"extra\n"
    assert (done.stdout, done.stderr) == (b"in\n", b"error\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_a_signal_to_us_alone_reaches_the_child_once(number: signal.Signals) -> None:
    with subprocess.Popen(  # noqa: S603  this interpreter
        wrapped(sys.executable, "-c", COUNTER),
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == b"ready\n"
        wrapper.send_signal(number)
        assert wrapper.stdout.readline() == f"seen {int(number)}\n".encode()
    assert wrapper.returncode == 7


def test_ctrl_c_at_a_terminal_reaches_the_child_once() -> None:
    terminal, slave = pty.openpty()
    with subprocess.Popen(  # noqa: S603  this interpreter
        (
            *(sys.executable, "-c", AT_TERMINAL, str(slave)),
            *wrapped(sys.executable, "-c", COUNTER),
        ),
        pass_fds=(slave,),
    ) as wrapper:
        os.close(slave)
        read_until(terminal, b"ready")
        os.write(terminal, b"\x03")
        said = read_until(terminal, b"seen 2\r\n")
    os.close(terminal)
    assert b"seen 2\r\n" in said
    assert wrapper.returncode == 7


def test_what_was_ignored_stays_ignored() -> None:
    """As with nohup: the child inherits it, and nobody hands it on."""
    script = "trap '' HUP; exec \"$@\""
    counter = COUNTER.replace("signal.SIGTERM, signal.SIGHUP", "signal.SIGTERM")
    with subprocess.Popen(  # noqa: S603  this interpreter
        ("/bin/sh", "-c", script, "sh", *wrapped(sys.executable, "-c", counter)),
        stdout=subprocess.PIPE,
        start_new_session=True,
    ) as wrapper:
        assert wrapper.stdout is not None
        assert wrapper.stdout.readline() == b"ready\n"
        wrapper.send_signal(signal.SIGHUP)
        wrapper.send_signal(signal.SIGTERM)
        assert wrapper.stdout.readline() == b"seen 15\n"


def read_until(terminal: int, wanted: bytes) -> bytes:
    said = b""
    for _ in range(1000):
        try:
            said += os.read(terminal, 1024)
        except OSError:
            break
        if wanted in said:
            break
    return said
