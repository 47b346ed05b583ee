import json
from dataclasses import replace

import pytest

from llmtrace.testing.provider import ScriptedProvider
from llmtrace.testing.relay import Relay
from llmtrace.testing.scenario import HOSTS, STEPS, Step, run_scenario


def unpaced(step: Step) -> Step:
    text = json.dumps(dict(step.body)).replace("delay_ms=40 first_delay_ms=150", "delay_ms=0")
    return replace(step, body=json.loads(text))


def test_the_scenario_plays_through_a_proxy(provider: ScriptedProvider) -> None:
    heard: dict[str, str] = {}

    def hear(step: Step, text: str) -> None:
        heard[step.title] = heard.get(step.title, "") + text

    with Relay(provider) as relay:
        steps = [unpaced(step) for step in STEPS]
        results = run_scenario(relay.url, provider.ca_pem, hear, steps=steps)
    assert [(result.status, result.error) for result in results] == [(200, "")] * len(STEPS)
    assert {call.sni for call in provider.calls} == set(HOSTS)
    for result in results:
        assert result.text == heard.get(result.step.title, "")
        assert bool(result.text) != bool(result.tool_calls)


def test_what_cannot_be_reached_is_a_result() -> None:
    provider = ScriptedProvider()
    [result] = run_scenario("http://127.0.0.1:9", provider.ca_pem, steps=STEPS[:1])
    assert (result.status, result.error.partition(":")[0]) == (0, "ConnectError")


@pytest.mark.parametrize("step", STEPS, ids=[step.dialect for step in STEPS])
def test_keys_are_made_up(step: Step) -> None:
    assert all("demo" in value for name, value in step.headers.items() if "version" not in name)
