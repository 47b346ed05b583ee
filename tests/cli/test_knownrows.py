import hashlib
import json
from pathlib import Path

import click
import pytest

from llmtrace.cli import knownrows
from llmtrace.cli.knownrows import Known, Sentence, read_known

JUDGED = {"text": "hello", "label": 1, "kind": "a:b"}
NAMED = {
    "text": "Ann of Oslo",
    "spans": [[0, 3, "PERSON"], [7, 11, "pii.location"], [0, 1, "MISC"]],
}


def write(path: Path, *rows: object) -> Path:
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    return path


def test_texts_that_are_judged_are_read(tmp_path: Path) -> None:
    assert read_known(write(tmp_path / "a", JUDGED)).texts == [Known("hello", True, "a:b")]


def test_names_are_read_as_kinds_of_findings(tmp_path: Path) -> None:
    found = read_known(write(tmp_path / "a", NAMED))
    names = frozenset({(0, 3, "pii.person"), (7, 11, "pii.location")})
    assert found.sentences == [Sentence("Ann of Oslo", names)]


def test_a_file_is_told_by_its_rows_and_its_bytes(tmp_path: Path) -> None:
    path = write(tmp_path / "a", NAMED, NAMED)
    seal = hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_known(path).about == {"rows": 2, "sha256": seal}


@pytest.mark.parametrize(
    "row",
    [
        pytest.param(JUDGED, id="a-row-of-the-other-form"),
        pytest.param([], id="a-list"),
        pytest.param({"text": "a", "spans": 1}, id="spans-that-are-none"),
        pytest.param({"text": "a", "spans": [[0, 1]]}, id="no-label"),
        pytest.param({"text": "a", "spans": [[0, 2, "PER"]]}, id="outside-of-the-text"),
        pytest.param({"text": "a", "spans": [[1, 1, "PER"]]}, id="empty"),
        pytest.param({"text": "a", "spans": [[0, 1, "HERO"]]}, id="an-unknown-label"),
    ],
)
def test_a_row_that_names_nothing_that_could_be_is_named(tmp_path: Path, row: object) -> None:
    with pytest.raises(click.ClickException, match=r"line 2: expected .*spans"):
        read_known(write(tmp_path / "a", NAMED, row))


def test_names_among_judged_texts_are_refused(tmp_path: Path) -> None:
    with pytest.raises(click.ClickException, match=r"line 2: expected .*label"):
        read_known(write(tmp_path / "a", JUDGED, NAMED))


def test_too_many_rows_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(knownrows, "MAX_ROWS", 1)
    with pytest.raises(click.ClickException, match="over 1 rows"):
        read_known(write(tmp_path / "a", JUDGED, JUDGED))
