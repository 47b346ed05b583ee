import json
import os
from pathlib import Path

import pytest

from llmtrace.app.state import PATIENCE_STEPS, Addresses, announce, await_turn, withdraw
from llmtrace.storage.recorder import RecorderRunning, sole_recorder

ADDRESSES = Addresses(forward="127.0.0.1:1", reverse=None, api="127.0.0.1:2")


def test_what_a_gateway_announced_it_withdraws(tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    announce(path, ADDRESSES)
    state = json.loads(path.read_text())
    assert (state["forward"], state["api"], state["pid"]) == (
        *("127.0.0.1:1", "127.0.0.1:2"),
        os.getpid(),
    )
    withdraw(path)
    assert not path.exists()
    withdraw(path)


@pytest.mark.parametrize("text", ['{"pid": 1}', "{}", "[]", "", "{"], ids=repr)
def test_what_another_gateway_wrote_stays(text: str, tmp_path: Path) -> None:
    path = tmp_path / "gateway.json"
    path.write_text(text)
    withdraw(path)
    assert path.read_text() == text


def test_a_second_gateway_of_an_installation_is_refused_in_one_line(tmp_path: Path) -> None:
    slept: list[float] = []
    with (
        sole_recorder(tmp_path),
        pytest.raises(
            RecorderRunning, match=rf"process {os.getpid()}\); stop its gateway first"
        ) as error,
    ):
        await_turn(tmp_path, sleep=slept.append)
    assert len(slept) == PATIENCE_STEPS
    assert "\n" not in str(error.value)


def test_a_recorder_that_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    other = sole_recorder(tmp_path)
    other.__enter__()
    await_turn(tmp_path, sleep=lambda _: other.__exit__(None, None, None))
    with sole_recorder(tmp_path):
        pass
