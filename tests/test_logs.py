import json
import logging
import re

import pytest

from llmtrace import logs


@pytest.fixture(autouse=True)
def _restore() -> object:
    root = logging.getLogger()
    before = root.handlers, root.level
    yield
    root.handlers, root.level = before


HOSTILE = 'evil\r\n{"level":"info"} \x1b[2J \u2028 end'


def test_json_logs_have_one_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", form="json", process="worker-0")
    logging.getLogger("llmtrace.x").warning("refused %s", HOSTILE)
    (line,) = capsys.readouterr().err.splitlines()
    event = json.loads(line)
    assert event["process"] == "worker-0"
    assert event["event"].startswith("refused evil\\r\\n")
    assert "\x1b" not in line


def test_text_logs_have_one_line_per_event(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", form="text", process="supervisor")
    logging.getLogger("llmtrace.x").error("refused %s", HOSTILE)
    text = capsys.readouterr().err
    assert len(text.splitlines()) == 1
    assert "\x1b" not in text


def test_libraries_that_quote_traffic_are_quiet(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="debug", form="text", process="worker-0")
    logging.getLogger("mitmproxy.proxy.server").info("Received WebSocket ping (payload: b'x')")
    logging.getLogger("mitmproxy.proxy.server").warning("told")
    assert "payload" not in (err := capsys.readouterr().err)
    assert "told" in err


def test_an_exceptions_message_is_not_told(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(level="info", form="text", process="worker-0")
    try:
        raise ValueError("a prompt")
    except ValueError:
        logging.getLogger("llmtrace.x").exception("could not judge")
    text = capsys.readouterr().err
    assert "ValueError" in text
    assert "a prompt" not in text


def test_where_an_error_came_from_is_told_innermost_first() -> None:
    def inner() -> None:
        raise KeyError("a prompt")

    with pytest.raises(KeyError) as caught:
        inner()
    told = re.sub(r"\d+", "0", logs.origin(caught.value))
    assert told == ("KeyError at inner:0 < test_where_an_error_came_from_is_told_innermost_first:0")
