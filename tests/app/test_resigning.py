from pathlib import Path
from typing import Any

import pytest

from llmtrace.app.detection import BadDetection
from llmtrace.app.resigning import check_resigning, resigner_of
from llmtrace.config import Config, ConfigError, load
from llmtrace.pipeline.counters import Counters
from llmtrace.providers.hosts import HostTable

SECRET = "planted-secret-4f2a9c"
KEYS = {"access_key_id": "env:OPERATORS_ID", "secret_access_key": "env:OPERATORS_SECRET"}


def config(*keys: dict[str, str], **more: Any) -> Config:
    return load(environ={}, overrides={"resigning": {"aws": list(keys), **more}})


@pytest.fixture(autouse=True)
def _environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPERATORS_ID", "AKIAOPERATOR")
    monkeypatch.setenv("OPERATORS_SECRET", f"{SECRET}\n")
    monkeypatch.setenv("EMPTY", " ")
    monkeypatch.setenv("TWO_LINES", f"{SECRET}\nx-evil: 1")
    monkeypatch.setenv("TWO_WORDS", f"{SECRET} {SECRET}")
    monkeypatch.delenv("UNSET", raising=False)


def test_without_keys_there_is_nothing_that_signs() -> None:
    assert resigner_of(config(), HostTable(), Counters()) is None


def test_keys_come_from_variables_and_files(tmp_path: Path) -> None:
    token = tmp_path / "token"
    token.write_text("session-token\n")
    made = resigner_of(config({**KEYS, "session_token": f"file:{token}"}), HostTable(), Counters())
    assert made is not None
    (source,) = made._sources
    assert (source().secret, source().token) == (SECRET, "session-token")
    token.write_text("rotated\n")
    assert source().token == "rotated"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("env:UNSET", "the variable 'UNSET' is not set"),
        ("env:EMPTY", "'EMPTY' holds no key"),
        ("env:TWO_LINES", "'TWO_LINES' holds no key"),
        ("env:TWO_WORDS", "'TWO_WORDS' holds more than a key"),
        ("file:/nowhere/at/all", "/nowhere/at/all cannot be read: No such file"),
        ("file:/dev/zero", "/dev/zero holds no key"),
    ],
)
def test_what_holds_no_key_is_named_with_its_place(source: str, said: str) -> None:
    broken = config(KEYS, {**KEYS, "secret_access_key": source})
    with pytest.raises(BadDetection) as told:
        check_resigning(broken)
    assert str(told.value).startswith("resigning.aws[1].secret_access_key: ")
    assert said in str(told.value)
    assert SECRET not in str(told.value)


def test_a_secret_in_the_configuration_is_refused_and_not_quoted() -> None:
    with pytest.raises(ConfigError) as told:
        config({**KEYS, "secret_access_key": SECRET})
    assert "resigning.aws" in str(told.value)
    assert "env:NAME" in str(told.value)
    assert SECRET not in str(told.value)


def test_to_sign_for_others_takes_keys() -> None:
    with pytest.raises(BadDetection, match=r"no keys in resigning\.aws"):
        check_resigning(config(for_key_holders=True))
