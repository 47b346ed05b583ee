from dataclasses import replace
from pathlib import Path

import pytest

from llmtrace.app.detection import BadDetection
from llmtrace.app.enforcement import enforcement_of, masks_of, tools_of
from llmtrace.app.settings import Settings
from llmtrace.config import load
from llmtrace.environment.home import Home
from llmtrace.pipeline.counters import Counters
from llmtrace.policy.vault import OneWay, Vault


def settings(folder: Path, **overrides: object) -> Settings:
    folder.chmod(0o700)
    keys = {key.replace("__", "."): value for key, value in overrides.items()}
    made = Settings(config=load(environ={}, overrides=keys), home=Home(folder))
    made.prepare()
    return made


def test_detection_is_on_and_only_observes_by_default(tmp_path: Path) -> None:
    found = enforcement_of(settings(tmp_path), Counters())
    assert found is not None
    assert not found.detection.enforce
    assert not (tmp_path / "vault.db").exists()


def test_detection_can_be_off(tmp_path: Path) -> None:
    assert enforcement_of(settings(tmp_path, security_analysis__enabled=False), Counters()) is None


def test_values_are_kept_beyond_the_process_where_traces_are(tmp_path: Path) -> None:
    masks = masks_of(settings(tmp_path, mode="enforce"))
    assert isinstance(masks, Vault)
    masked = masks.mask("acme", "pii.email", "jane.roe@acme-corp.com")
    masks.close()
    assert masks_of(settings(tmp_path, mode="enforce")).unmask("acme", masked) is not None
    assert (tmp_path / "vault.db").stat().st_mode & 0o077 == 0


def test_the_memory_profile_writes_no_values(tmp_path: Path) -> None:
    masks = masks_of(settings(tmp_path, mode="enforce", storage__profile="memory"))
    assert isinstance(masks, Vault)
    assert not (tmp_path / "vault.db").exists()


def test_values_can_be_hidden_for_good(tmp_path: Path) -> None:
    masks = masks_of(settings(tmp_path, pii__reversible=False))
    assert isinstance(masks, OneWay)


def test_workers_of_one_run_share_what_they_were_offered(tmp_path: Path) -> None:
    key, first = ("acme", "bot"), {"add": frozenset({"1" * 64})}
    known = []
    for run in ("aa", "aa", "bb"):
        tools = tools_of(replace(settings(tmp_path), run=run))
        assert tools is not None
        known.append(tools.known(key, first))
        tools.keep(key, first, {}, lambda told: pytest.fail(str(told)))
        tools.close()
    assert known == [{}, first, {}]


@pytest.mark.parametrize(
    ("run", "keys"),
    [
        pytest.param("", {}, id="without-others"),
        pytest.param("aa", {"storage__profile": "memory"}, id="in-memory"),
        pytest.param("aa", {"security_analysis__enabled": False}, id="without-detection"),
    ],
)
def test_a_worker_remembers_tools_by_itself(
    tmp_path: Path, run: str, keys: dict[str, object]
) -> None:
    assert tools_of(replace(settings(tmp_path, **keys), run=run)) is None
    assert not (tmp_path / "limits.sqlite").exists()


def test_a_policy_of_unknown_kinds_is_refused(tmp_path: Path) -> None:
    rules = [{"kinds": ["secret.tokn"], "verdict": "block"}]
    with pytest.raises(BadDetection, match=r"did you mean 'secret.token'"):
        enforcement_of(settings(tmp_path, policy__rules=rules), Counters())


def test_canaries_reach_a_child_process(tmp_path: Path) -> None:
    told = settings(tmp_path, security_analysis__canaries=["river-otter-4821"])
    (canary,) = Settings.parse(told.dump()).config.security_analysis.canaries
    assert canary.get_secret_value() == "river-otter-4821"
