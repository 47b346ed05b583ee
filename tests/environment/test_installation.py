import os
import re
from pathlib import Path

import pytest

from llmtrace.certs.authority import Made
from llmtrace.config import Config
from llmtrace.config.models import CaConfig, InterceptConfig
from llmtrace.environment.home import Home
from llmtrace.environment.installation import Installation, installation, new_run_id, user


def place(tmp_path: Path, config: Config | None = None) -> Installation:
    return installation(config or Config(), {"LLMTRACE_HOME": str(tmp_path / "home")})


def test_the_ca_is_for_the_providers_of_the_configuration(tmp_path: Path) -> None:
    hosts = {"llm.example.com": "openai", "10.0.0.7:8000": "vllm"}
    authority, made = place(
        tmp_path, Config(intercept=InterceptConfig(hosts=hosts), ca=CaConfig(validity_days=5))
    ).open_ca()
    assert made is Made.CREATED
    assert {"api.openai.com", "api.anthropic.com", "llm.example.com", "10.0.0.7"} <= set(
        authority.permitted
    )
    assert (authority.expires_at - authority.starts_at).days == 5 + 2
    assert os.stat(tmp_path / "home").st_mode & 0o077 == 0


def test_a_first_run_says_what_it_made_and_where(tmp_path: Path) -> None:
    here = place(tmp_path)
    [said] = here.advice(*here.open_ca())
    assert str(tmp_path / "home/ca") in said
    assert "nothing else" in said
    assert here.advice(*here.open_ca()) == ()


def test_a_host_that_the_ca_lacks_is_said_with_the_command(tmp_path: Path) -> None:
    place(tmp_path).open_ca()
    more = place(tmp_path, Config(intercept=InterceptConfig(hosts={"llm.example.com": "openai"})))
    [said] = more.advice(*more.open_ca())
    assert "llm.example.com" in said
    assert "llmtrace ca rotate" in said
    assert more.advice(more.rotate_ca(), Made.FOUND) == ()


def test_a_host_is_governed_in_any_spelling(tmp_path: Path) -> None:
    here = place(tmp_path)
    assert here.governs("API.OpenAI.com.")
    assert not here.governs("example.com")
    assert not here.governs("not a host")


def test_trust_leaves_java_out_where_it_is_told_to(tmp_path: Path) -> None:
    here = Installation(config=Config(), home=Home(tmp_path / "home"))
    authority, _ = here.open_ca()
    assert here.trust(authority, {"PATH": os.environ["PATH"]}, java=False).java is None
    assert here.trust(authority, {"PATH": str(tmp_path)}, java=True).java is None


def test_names_of_runs_are_short_and_differ() -> None:
    names = {new_run_id() for _ in range(50)}
    assert len(names) > 45
    assert all(re.fullmatch(r"[a-z]+-[a-z]+-[0-9a-f]{4}", name) for name in names)


def test_a_user_whom_the_system_does_not_know_is_unknown(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("uid 12345")

    monkeypatch.setattr("getpass.getuser", nobody)
    assert user() == "unknown"
