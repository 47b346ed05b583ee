from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest

from llmtrace.app.settings import SECRET_BYTES, Settings
from llmtrace.config import load
from llmtrace.environment.home import Home


def settings(tmp_path: Path, **overrides: object) -> Settings:
    return Settings(config=load(environ={}, overrides=overrides), home=Home(tmp_path / "home"))


def test_what_is_told_to_a_child_is_what_it_reads(tmp_path: Path) -> None:
    told = settings(
        tmp_path,
        upstream_proxy="http://user:secret@proxy.corp:3128",
        upstreams={"api.openai.com": "https://127.0.0.1:1/x"},
    )
    told = replace(told, run="5f3a")
    heard = Settings.parse(told.dump())
    assert heard == told
    assert heard.proxy_url() == "http://user:secret@proxy.corp:3128"


def test_a_secret_is_not_in_what_is_printed(tmp_path: Path) -> None:
    assert "secret" not in repr(settings(tmp_path, upstream_proxy="http://u:secret@p:1").config)


def test_folders_and_secret_are_private_and_stay(tmp_path: Path) -> None:
    made = settings(tmp_path)
    made.prepare()
    first = made.secret()
    made.prepare()
    assert made.secret() == first
    assert len(first) == 32
    for path, mode in [(made.home.path, 0o700), (made.spool, 0o700)]:
        assert path.stat().st_mode & 0o777 == mode
    assert (made.home.path / "secret").stat().st_mode & 0o777 == 0o600


def test_paths_follow_the_configuration(tmp_path: Path) -> None:
    default = settings(tmp_path)
    assert default.database == tmp_path / "home" / "llmtrace.db"
    named = settings(
        tmp_path,
        **{"storage.database_path": str(tmp_path / "x.db"), "spool.directory": str(tmp_path / "s")},
    )
    assert (named.database, named.spool) == (tmp_path / "x.db", tmp_path / "s")


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "home").write_text("a file")
    with pytest.raises(OSError, match="home"):
        settings(tmp_path).prepare()


def test_hosts_that_are_excluded_are_not_governed(tmp_path: Path) -> None:
    found = settings(
        tmp_path,
        **{
            "intercept.exclude": ["api.mistral.ai"],
            "intercept.hosts": {"llm.corp": "vllm", "10.0.0.5:8000": "vllm"},
        },
    )
    assert found.hosts().provider_of("api.mistral.ai") is None
    assert found.hosts().provider_of("llm.corp") == "vllm"
    assert "llm.corp" in found.permitted_names()
    assert "10.0.0.5" in found.permitted_names()


def test_everybody_reads_the_same_whole_secret(tmp_path: Path) -> None:
    settings = Settings(config=load(environ={}), home=Home(tmp_path))
    with ThreadPoolExecutor(8) as pool:
        found = set(pool.map(lambda _: settings.secret(), range(16)))
    assert [len(secret) for secret in found] == [SECRET_BYTES]
    assert [file.name for file in tmp_path.iterdir()] == ["secret"]
    assert (tmp_path / "secret").stat().st_mode & 0o777 == 0o600


def test_a_secret_that_was_cut_short_is_not_used(tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"")
    with pytest.raises(OSError, match=r"secret: 0 bytes, expected 32"):
        Settings(config=load(environ={}), home=Home(tmp_path)).secret()
