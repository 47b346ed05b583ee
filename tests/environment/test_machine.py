import socket
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from llmtrace.config import Config
from llmtrace.config.models import ApiConfig, ReverseConfig, StorageConfig
from llmtrace.environment import machine
from llmtrace.environment.checks import Check, Status
from llmtrace.environment.home import Home
from llmtrace.environment.installation import Installation
from llmtrace.environment.machine import (
    check_ports,
    check_storage,
    check_variables,
    check_versions,
)


def here(tmp_path: Path, config: Config | None = None) -> Installation:
    return Installation(config=config or Config(), home=Home(tmp_path))


def by_name(checks: Sequence[Check]) -> dict[str, Check]:
    return {check.name: check for check in checks}


def test_versions_that_this_is_built_on_are_well() -> None:
    assert {check.status for check in check_versions()} == {Status.OK}


@pytest.mark.parametrize("found", ["11.0.0", "12.2.1", "13.0.0"])
def test_a_mitmproxy_of_another_line_is_not(found: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "version", lambda _: found)
    assert by_name(list(check_versions()))["mitmproxy"].status is Status.FAIL


def test_a_port_that_another_program_has_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "health", lambda _: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        config = Config(
            listen=address,
            api=ApiConfig(listen="0.0.0.0:0"),
            reverse=ReverseConfig(listen="127.0.0.1:0"),
        )
        found = by_name(list(check_ports(here(tmp_path, config))))
    assert found["listen"].status is Status.FAIL
    assert "no gateway answers" in found["listen"].detail
    assert found["api.listen"].status is Status.WARN
    assert "anyone who reaches" in found["api.listen"].detail
    assert found["reverse.listen"].status is Status.OK


def test_ports_of_a_gateway_that_runs_are_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "health", lambda _: {})
    found = list(check_ports(here(tmp_path)))
    assert found[0].name == "running"
    assert {check.status for check in found} == {Status.OK}


def test_a_gateway_that_looks_for_less_than_is_configured_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said = {"status": "degraded", "degraded": ["model a/b: not in the cache"]}
    monkeypatch.setattr(machine, "health", lambda _: said)
    found = by_name(list(check_ports(here(tmp_path))))
    assert found["degraded"].status is Status.WARN
    assert "model a/b: not in the cache" in found["degraded"].detail


@pytest.mark.parametrize(
    ("environ", "name", "status"),
    [
        pytest.param({}, "proxy", Status.OK, id="nothing"),
        pytest.param({"NO_PROXY": ".openai.com"}, "NO_PROXY", Status.FAIL, id="no-proxy"),
        pytest.param({"HTTPS_PROXY": "http://u:pw@c:1"}, "HTTPS_PROXY", Status.OK, id="chained"),
        pytest.param(
            {"NODE_TLS_REJECT_UNAUTHORIZED": "0"},
            "NODE_TLS_REJECT_UNAUTHORIZED",
            Status.WARN,
            id="node-trusts-all",
        ),
        pytest.param(
            {"PYTHONHTTPSVERIFY": "0"}, "PYTHONHTTPSVERIFY", Status.WARN, id="python-trusts-all"
        ),
        pytest.param(
            {"OPENAI_BASE_URL": "http://127.0.0.1:1"}, "OPENAI_BASE_URL", Status.WARN, id="base-url"
        ),
    ],
)
def test_variables_that_work_against_it_are_named(
    environ: dict[str, str], name: str, status: Status, tmp_path: Path
) -> None:
    check = by_name(list(check_variables(here(tmp_path), environ)))[name]
    assert check.status is status
    assert "pw" not in check.detail
    assert bool(check.fix) == (status is not Status.OK)


def broken() -> bool:
    raise RuntimeError("the file is damaged")


@pytest.mark.parametrize(
    ("readable", "status"),
    [(lambda: True, Status.OK), (lambda: False, Status.FAIL), (broken, Status.FAIL)],
)
def test_a_database_is_opened_and_asked(
    readable: Callable[[], bool], status: Status, tmp_path: Path
) -> None:
    path = tmp_path / "x y.db"
    place = here(tmp_path, Config(storage=StorageConfig(database_path=path)))
    assert "none yet" in by_name(list(check_storage(place, broken)))["database"].detail
    path.touch()
    assert by_name(list(check_storage(place, readable)))["database"].status is status


def test_what_is_kept_in_memory_has_no_file(tmp_path: Path) -> None:
    place = here(tmp_path, Config(storage=StorageConfig(profile="memory")))
    assert by_name(list(check_storage(place, broken)))["database"].status is Status.OK


def test_a_disk_that_is_nearly_full_is_a_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "LOW_DISK_BYTES", 2**60)
    found = by_name(list(check_storage(here(tmp_path / "not" / "yet"), broken)))
    assert found["disk"].status is Status.WARN
