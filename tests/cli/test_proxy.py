from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result

from llmtrace.app import gateway
from llmtrace.config import Config

type Run = Callable[..., Result]


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Config, Path | None]]:
    """What would have been run."""
    seen: list[tuple[Config, Path | None]] = []

    def run_gateway(config: Config, *, config_path: Path | None) -> int:
        seen.append((config, config_path))
        return 7

    monkeypatch.setattr(gateway, "run_gateway", run_gateway)
    return seen


def test_options_go_before_the_file(tmp_path: Path, run: Run, started: list[Any]) -> None:
    path = tmp_path / "llmtrace.yaml"
    path.write_text("workers: 2\nlisten: 127.0.0.1:1\n")
    done = run(
        *("proxy", "--config", path, "--workers", "3", "--reverse-listen", "[::1]:0"),
        *("--api-listen", "localhost:0", "--log-level", "debug", "--log-format", "json"),
    )
    ((config, config_path),) = started
    assert done.exit_code == 7
    assert config_path == path
    assert (config.workers, config.listen) == (3, "127.0.0.1:1")
    assert (config.reverse.listen, config.api.listen) == ("[::1]:0", "localhost:0")
    assert (config.logging.level, config.logging.format) == ("debug", "json")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        pytest.param(["--listen", "8642"], "command line: listen: '8642' is not host:port"),
        pytest.param(["--workers", "-1"], "-1 is not in the range", id="workers"),
        pytest.param(["--api-listen", "127.0.0.1:8642"], "give each its own port", id="clash"),
        pytest.param(["--config", "/none.yaml"], "/none.yaml: cannot be read", id="no-file"),
    ],
)
def test_a_bad_option_is_exit_code_2(
    run: Run, started: list[Any], words: list[str], said: str
) -> None:
    done = run("proxy", *words)
    assert done.exit_code == 2
    assert said in done.stderr
    assert not started


def test_what_it_names_is_tried_before_it_starts(run: Run, started: list[Any]) -> None:
    assert run("proxy", LLMTRACE_UPSTREAM_CA="/none.pem").exit_code == 2
    assert not started
