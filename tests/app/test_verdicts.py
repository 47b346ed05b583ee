from importlib import metadata
from pathlib import Path

import pytest

from llmtrace.app import verdicts
from llmtrace.app.detection import BadDetection
from llmtrace.app.settings import Settings
from llmtrace.app.verdicts import check_cache, code_seal, verdicts_of
from llmtrace.config import ConfigError, load
from llmtrace.environment.home import Home
from llmtrace.testing.background import LOOPBACK, free_port


def settings(folder: Path, **overrides: object) -> Settings:
    made = Settings(config=load(environ={}, overrides=overrides), home=Home(folder / "home"))
    made.prepare()
    return made


def test_by_default_each_worker_remembers_by_itself(tmp_path: Path) -> None:
    assert verdicts_of(settings(tmp_path)) is None


@pytest.mark.parametrize(
    "analysis", [{"enabled": False}, {"cache_entries": 0}], ids=["off", "no-memory"]
)
def test_what_could_not_be_used_is_not_asked_for(tmp_path: Path, analysis: dict[str, int]) -> None:
    storage = {"cache_url": f"redis://{LOOPBACK}:{free_port()}"}
    assert verdicts_of(settings(tmp_path, storage=storage, security_analysis=analysis)) is None


def test_a_cache_that_is_down_keeps_no_worker_from_starting(tmp_path: Path) -> None:
    shared = verdicts_of(settings(tmp_path, storage={"cache_url": f"redis://:pw@{LOOPBACK}:1"}))
    assert shared is not None
    assert shared.recall([b"k" * 20]) == {}
    assert "pw" not in str(shared.status)
    shared.close()


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("redis://:a@localhost:6379/0", "redis://127.0.0.1/5"),
        ("unix:///run/redis.sock", "unix:///run/redis.sock?db=2"),
        ("redis://Cache.example:7000", "rediss://cache.example:7000/1"),
    ],
)
def test_budgets_and_cache_are_not_one_redis(one: str, other: str) -> None:
    with pytest.raises(ConfigError, match="are one Redis"):
        load(environ={}, overrides={"storage": {"redis_url": one, "cache_url": other}})
    load(environ={}, overrides={"storage": {"redis_url": one, "cache_url": "redis://else:6379"}})


def test_other_versions_of_what_finds_have_another_seal(monkeypatch: pytest.MonkeyPatch) -> None:
    code_seal.cache_clear()
    usual = code_seal()
    with monkeypatch.context() as patched:
        patched.setattr(metadata, "version", lambda _name: "0.0.1")
        code_seal.cache_clear()
        assert code_seal() != usual
    with monkeypatch.context() as patched:
        patched.setattr(verdicts, "_sources", lambda *_: [("/engine.py", b"else")])
        code_seal.cache_clear()
        assert code_seal() != usual
    code_seal.cache_clear()
    assert code_seal() == usual


@pytest.mark.parametrize("url", ["redis://:hunter2/x@cache:6379", "redis://cache:6379?nothing=1"])
def test_what_is_no_url_is_said_without_its_password(tmp_path: Path, url: str) -> None:
    made = settings(tmp_path, storage={"cache_url": url})
    with pytest.raises(BadDetection, match=r"storage\.cache_url: no URL of a Redis") as told:
        check_cache(made.config)
    assert "hunter2" not in str(told.value)
    with pytest.raises(BadDetection, match=r"storage\.cache_url"):
        verdicts_of(made)


def test_a_child_is_told_the_url_and_nobody_else(tmp_path: Path) -> None:
    made = settings(tmp_path, storage={"cache_url": "redis://:hunter2@cache:6379"})
    assert Settings.parse(made.dump()) == made
    assert "hunter2" not in repr(made)
    assert "hunter2" not in str(made.config.model_dump(mode="json"))
