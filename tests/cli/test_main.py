import importlib
import re
import subprocess
import sys
from collections.abc import Callable, Iterator

import click
import pytest
from click.testing import Result

from llmtrace import __version__
from llmtrace.cli.main import COMMANDS, llmtrace

type Run = Callable[..., Result]

SLOW = ("mitmproxy", "genai_prices", "sqlite3", "sqlite_utils", "pydantic", "rich", "cryptography")


def all_commands() -> Iterator[tuple[str, ...]]:
    for name, entry in COMMANDS.items():
        command = getattr(importlib.import_module(entry.module), name)
        yield (name,)
        if isinstance(command, click.Group):
            yield from ((name, sub) for sub in command.commands)


@pytest.mark.parametrize("words", list(all_commands()), ids=" ".join)
def test_help_fits_a_screen_and_says_what_each_option_is(run: Run, words: tuple[str, ...]) -> None:
    done = run(*words, "--help")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert len(lines) <= 44
    assert max(map(len, lines)) <= 100
    context = click.Context(llmtrace)
    command = llmtrace.get_command(context, words[0])
    if isinstance(command, click.Group) and len(words) > 1:
        command = command.commands[words[1]]
    assert command is not None
    options = [param for param in command.params if isinstance(param, click.Option)]
    assert [option.name for option in options if not option.help] == []


def test_the_help_of_all_names_every_command(run: Run) -> None:
    done = run("--help")
    assert done.exit_code == 0
    for name, entry in COMMANDS.items():
        assert re.search(rf"^  {name} +{re.escape(entry.help)}$", done.stdout, re.MULTILINE)
    assert "Exit codes: 0 done; 1" in done.stdout
    assert len(done.stdout.splitlines()) <= 36


def test_help_comes_at_once() -> None:
    code = (
        "import sys; sys.argv = ['llmtrace', '--help']\n"
        "from llmtrace.cli.main import main\n"
        "try: main()\n"
        f"finally: print([name for name in {SLOW} if name in sys.modules], file=sys.stderr)"
    )
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stderr == "[]\n"


@pytest.mark.parametrize("command", ["costs", "agents", "keys", "tenants", "traces", "findings"])
def test_who_asks_what_is_kept_loads_no_gateway(command: str) -> None:
    """That would take as long again as all the rest."""
    gateway = ["mitmproxy", "llmtrace.pipeline", "llmtrace.app.limits"]
    code = (
        f"import sys, llmtrace.cli.{command}\n"
        f"print([name for name in {gateway} if name in sys.modules])"
    )
    done = subprocess.run(  # noqa: S603  our own words
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == "[]\n"


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "llmtrace", "--version"],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == f"llmtrace, version {__version__}\n"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["tracs"], "No such command 'tracs'. Did you mean traces?"),
        (["qqqq"], "No such command 'qqqq'."),
        (["--nothing"], "No such option"),
        ([], "Usage: llmtrace"),
    ],
)
def test_a_wrong_word_is_exit_code_2(run: Run, words: list[str], said: str) -> None:
    done = run(*words)
    assert done.exit_code == 2
    assert said in done.output
