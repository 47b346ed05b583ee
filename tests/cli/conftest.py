from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from llmtrace.cli.main import llmtrace
from llmtrace.domain.traces import Record
from llmtrace.storage.registry import build, close

type Keep = Callable[..., None]
type Run = Callable[..., Result]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation of its own, which nothing of the machine's environment reaches."""
    folder = tmp_path / "home"
    monkeypatch.setenv("LLMTRACE_HOME", str(folder))
    return folder


@pytest.fixture
def keep(home: Path) -> Keep:
    """Puts records into the installation's store."""

    def put(*records: Record) -> None:
        storage = build("lite", database_path=home / "llmtrace.db", synchronous="NORMAL")
        try:
            storage.traces.put(records)
        finally:
            close(storage)

    return put


@pytest.fixture
def run(home: Path) -> Run:
    """Runs a command line in this process."""

    def invoke(*words: str | Path, **more: str) -> Result:
        arguments: Sequence[str] = [str(word) for word in words]
        return CliRunner(env=more).invoke(llmtrace, arguments, prog_name="llmtrace")

    return invoke
