from pathlib import Path

import pytest

from llmtrace.addons.upstreams import ProxyUrl, Upstreams
from llmtrace.app.settings import Settings
from llmtrace.app.worker import (
    Ports,
    Trusted,
    bases_of,
    data_limits,
    listens_of,
)
from llmtrace.config import load
from llmtrace.environment.home import Home

PORTS = Ports(forward=1001, reverse=1002, api=1003)


def settings(tmp_path: Path, **overrides: object) -> Settings:
    return Settings(config=load(environ={}, overrides=overrides), home=Home(tmp_path))


def test_a_worker_listens_where_it_was_told(tmp_path: Path) -> None:
    listens = listens_of(settings(tmp_path), PORTS, None)
    assert [(item.mode.partition(":")[0], item.port) for item in listens] == [
        ("regular", 1001),
        ("reverse", 1002),
    ]


def test_base_url_mode_can_be_off(tmp_path: Path) -> None:
    listens = listens_of(settings(tmp_path), Ports(forward=1, reverse=None, api=2), None)
    assert len(listens) == 1


def test_an_upstream_proxy_is_chained(tmp_path: Path) -> None:
    proxy = ProxyUrl.parse("http://u:p@proxy.corp:3128")
    (forward, _reverse) = listens_of(settings(tmp_path), PORTS, proxy)
    assert forward.mode == "upstream:http://proxy.corp:3128"


def test_own_ports_are_all_of_them() -> None:
    assert PORTS.own == {1001, 1002, 1003}


def test_limits_are_those_of_the_configuration(tmp_path: Path) -> None:
    limits = data_limits(settings(tmp_path, **{"limits.head_bytes": 2048, "limits.h2_streams": 7}))
    assert (limits.head_bytes, limits.h2_streams) == (2048, 7)


@pytest.mark.parametrize(
    ("host", "port", "trusted"),
    [
        ("127.0.0.1", 9000, True),
        ("127.0.0.1", 9001, False),
        ("models.local", 443, True),
        ("other.local", 443, False),
        ("10.0.0.5", 8000, True),
        ("10.0.0.5", 8001, False),
    ],
)
def test_only_what_the_configuration_names_is_trusted(
    tmp_path: Path, host: str, port: int, trusted: bool
) -> None:
    named = settings(
        tmp_path, **{"intercept.hosts": {"models.local": "vllm", "10.0.0.5:8000": "vllm"}}
    )
    upstreams = Upstreams(bases={"api.openai.com": "https://127.0.0.1:9000"})
    assert Trusted(named, named.hosts(), upstreams)(host, port) is trusted


@pytest.mark.parametrize(
    ("listens", "trusted"),
    [
        pytest.param({}, True, id="defaults"),
        pytest.param({"listen": "localhost:8642", "reverse.listen": None}, True, id="localhost"),
        pytest.param({"listen": "0.0.0.0:8642"}, False, id="anyone"),
        pytest.param({"reverse.listen": "192.168.1.7:8643"}, False, id="a-network"),
    ],
)
def test_the_ollama_of_this_machine_is_for_this_machine(
    tmp_path: Path, listens: dict[str, object], trusted: bool
) -> None:
    chosen = settings(tmp_path, **listens)
    found = Trusted(chosen, chosen.hosts(), Upstreams(bases={}))
    assert found("127.0.0.1", 11434) is trusted
    assert not found("127.0.0.1", 11435)
    assert not found("10.0.0.1", 11434)


def test_self_hosted_providers_have_a_base_url(tmp_path: Path) -> None:
    named = settings(
        tmp_path,
        **{"intercept.hosts": {"10.0.0.5:8000": "vllm", "*.corp": "tgi", "llm.corp": "sglang"}},
    )
    assert bases_of(named) == {"vllm": "http://10.0.0.5:8000", "sglang": "https://llm.corp"}
