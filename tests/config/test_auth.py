import pytest

from llmtrace.config import ConfigError, load


def test_nobody_needs_a_key_unless_it_is_asked_for() -> None:
    assert not load(environ={}).auth.enabled
    assert load(environ={"LLMTRACE_AUTH_ENABLED": "true"}).auth.enabled


def test_a_misspelt_key_turns_nothing_off() -> None:
    with pytest.raises(ConfigError, match=r"auth\.enable\b"):
        load(environ={}, overrides={"auth.enable": True})
