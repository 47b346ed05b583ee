from pathlib import Path

import pytest

from llmtrace.environment.home import Home, home


def test_the_variable_names_it_and_the_users_home_is_the_default(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home({}) == tmp_path / ".llmtrace"
    assert home({"LLMTRACE_HOME": ""}) == tmp_path / ".llmtrace"
    assert home({"LLMTRACE_HOME": "~/other"}) == tmp_path / "other"
    assert home({"LLMTRACE_HOME": "relative"}).is_absolute()
    monkeypatch.setenv("LLMTRACE_HOME", "/srv/llmtrace")
    assert home() == Path("/srv/llmtrace")


def test_private_and_public_files_are_in_folders_of_their_own(tmp_path: Path) -> None:
    place = Home(tmp_path)
    assert place.ca != place.trust
    assert {place.database.parent, place.tls_failures.parent, place.store_records.parent} == {
        tmp_path
    }
