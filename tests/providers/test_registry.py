"""The table of dialects."""

from llmtrace.providers.registry import DIALECTS, GENERIC, SESSIONS, dialect


def test_a_dialect_is_found_by_name() -> None:
    assert dialect("openai.chat").name == "openai.chat"


def test_an_unknown_name_is_read_generically() -> None:
    assert dialect("no.such") is GENERIC


def test_each_session_has_a_dialect() -> None:
    assert SESSIONS.keys() <= DIALECTS.keys()
