import shutil
from pathlib import Path

import pytest

from llmtrace.environment import program as module
from llmtrace.environment.program import program


def test_the_program_is_named_as_it_can_be_typed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = Path(module.__file__).resolve().parents[3]
    monkeypatch.setattr(shutil, "which", lambda _: None)
    monkeypatch.chdir(root)
    assert program() == "./scripts/llmtrace"
    monkeypatch.chdir(tmp_path)
    assert program() == str(root / "scripts" / "llmtrace")
    monkeypatch.setattr(shutil, "which", lambda _: "/usr/bin/llmtrace")
    assert program() == "llmtrace"
