"""Who is known to be gone, and what the recorder does without."""

import subprocess
import sys
from pathlib import Path

import pytest

from llmtrace.app.limits import owner_of
from llmtrace.app.recoveries import gone_from

PROBE = """
import sys
import llmtrace.app.recorder
print(sorted({"genai_prices", "llmtrace.pipeline", "mitmproxy", "re2"} & set(sys.modules)))
"""


def test_the_recorder_imports_nothing_of_what_reads_calls() -> None:
    probe = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    )
    assert probe.stdout.strip() == "[]"


def test_a_worker_is_gone_when_the_recorder_has_removed_its_directory(tmp_path: Path) -> None:
    here = tmp_path / "worker-0-17-abc"
    here.mkdir()
    owner, is_gone = owner_of(here), gone_from(tmp_path)
    assert not is_gone(owner)
    here.rmdir()
    assert is_gone(owner)


@pytest.mark.parametrize("owner", ["", "elsewhere:worker-0-17-abc", owner_of(None)])
def test_of_others_nobody_knows(tmp_path: Path, owner: str) -> None:
    assert not gone_from(tmp_path)(owner)
