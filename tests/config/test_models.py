from typing import Any

import pytest
from pydantic import ValidationError

from llmtrace.config import Config
from llmtrace.config.section import parse_address

SECRET = "hunter2"


def test_everything_has_a_default_and_stays_on_this_machine() -> None:
    config = Config()
    addresses = (config.listen, config.reverse.listen, config.api.listen)
    assert {parse_address(text or "").host for text in addresses} == {"127.0.0.1"}
    assert (config.on_error, config.audit.mode) == ("block", "block")
    assert config.mode == "observe"  # nobody's traffic is changed unasked


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({"upstreams": {"api.openai.com": "https://127.0.0.1:8443/v1"}}, id="upstream"),
        pytest.param({"upstreams": {"*.example": "http://[::1]:80"}}, id="upstream-ipv6"),
        pytest.param({"upstream_proxy": "http://proxy:3128"}, id="proxy"),
        pytest.param({"upstream_proxy": "https://u:p%40w@proxy"}, id="proxy-with-password"),
        pytest.param({"reverse": {"listen": None}}, id="base-url-mode-off"),
        pytest.param({"storage": {"retention_days": 0}}, id="kept-for-ever"),
    ],
)
def test_good_values(values: dict[str, Any]) -> None:
    assert Config.model_validate(values)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        pytest.param({"upstreams": {"a": "ftp://h"}}, "'a': not a base URL", id="scheme"),
        pytest.param({"upstreams": {"a": "https://"}}, "'a': not a base URL", id="no-host"),
        pytest.param({"upstreams": {"a": "https://h?x=1"}}, "not a base URL", id="query"),
        pytest.param({"upstreams": {"a": "https://h:x"}}, "not a base URL", id="bad-port"),
        pytest.param({"upstreams": {"a": f"https://u:{SECRET}@h"}}, "no user name", id="user"),
        pytest.param({"upstream_proxy": f"socks5://u:{SECRET}@h"}, "not a proxy URL", id="socks"),
        pytest.param({"upstream_proxy": f"http://u:{SECRET}/x@h:1"}, "%2F", id="slash-in-password"),
        pytest.param({"upstream_proxy": f"http://u:{SECRET}#x@h:1"}, "%23", id="hash-in-password"),
        pytest.param({"upstream_proxy": f"http://u:{SECRET} @h:1"}, "not a proxy", id="space"),
        pytest.param({"upstream_proxy": f"http://[{SECRET}"}, "not a proxy", id="bad-brackets"),
        pytest.param({"mode": "enforced"}, "observe", id="unknown-mode"),
        pytest.param({"workers": -1}, "greater than or equal to 0", id="negative"),
        pytest.param({"limits": {"head_seconds": float("nan")}}, "less than", id="nan"),
        pytest.param({"limits": {"body_bytes": 1}}, "greater than", id="too-small"),
        pytest.param(
            {"cost_estimation": {"custom_models": {"m": {"input_per_million": 1}}}},
            "output_per_million",
            id="half-a-price",
        ),
        pytest.param(
            {"listen": "0.0.0.0:8644"},
            "listen is 0.0.0.0:8644 and api.listen is 127.0.0.1:8644",
            id="clash",
        ),
        pytest.param(
            {"reverse": {"listen": "localhost:8642"}}, "reverse.listen is localhost", id="clash-2"
        ),
    ],
)
def test_bad_values_are_refused_without_a_word_of_secrets(
    values: dict[str, Any], said: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        Config.model_validate(values)
    messages = " ".join(detail["msg"] + str(detail["loc"]) for detail in caught.value.errors())
    assert said in messages
    assert SECRET not in messages


def test_a_secret_is_not_shown() -> None:
    config = Config.model_validate({"upstream_proxy": f"http://u:{SECRET}@h:1"})
    assert SECRET not in repr(config) + config.model_dump_json()
