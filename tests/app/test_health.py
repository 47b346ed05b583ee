from typing import Any

from llmtrace.analyzers.meter import Meter
from llmtrace.app.health import degraded, summed
from llmtrace.app.health import missing as lacking


def model(name: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "version": "1", "loaded": True, **Meter().snapshot(), **more}


def missing(name: str, reason: str = "is not there") -> dict[str, Any]:
    return {"name": name, "loaded": False, "reason": reason}


def test_counters_and_tunnels_add_up_over_processes() -> None:
    said = summed(
        [
            {"counters": {"a": 1, "b": 2}, "tunnels": {"x.example": {"up": 3, "down": 4}}},
            {"counters": {"a": 5}, "tunnels": {"x.example": {"up": 1, "down": 1}}},
            {},
        ]
    )
    assert said["counters"] == {"a": 6, "b": 2}
    assert said["tunnels"] == {"x.example": {"up": 4, "down": 5}}
    assert said["models"] == []


def test_a_model_is_one_over_all_processes() -> None:
    said = summed([{"models": [model("m", texts=3)]}, {"models": [model("m", texts=4)]}, {}])
    rows: Any = said["models"]
    (row,) = rows
    assert (row["name"], row["version"], row["loaded"], row["missing"]) == ("m", "1", 2, 0)
    assert (row["texts"], row["p99_ms"]) == (7, None)


def test_all_models_is_not_degraded() -> None:
    assert degraded([{"models": [model("m")]}, {"counters": {}}, {}]) == {}


def test_a_model_that_is_missing_anywhere_is_told_once_with_why() -> None:
    said = [{"models": [missing("m")]}, {"models": [missing("m"), model("n")]}]
    assert degraded(said) == {"status": "degraded", "degraded": ["model m: is not there"]}
    assert degraded([{"models": [model("m")]}, {"models": [missing("m")]}])
    rows: Any = summed(said)["models"]
    assert [(row["name"], row["loaded"], row["missing"]) for row in rows] == [
        ("m", 0, 2),
        ("n", 1, 0),
    ]


def test_a_model_that_fails_anywhere_is_told_once_with_the_kind_of_fault() -> None:
    fails = {"models": [model("m", failed=2, failing="KeyError"), model("n")]}
    said = [fails, {"models": [model("m", failed=3)]}, fails]
    assert degraded(said) == {
        "status": "degraded",
        "degraded": [
            "model m: could not read texts within the last 5 minutes (KeyError); the log says where"
        ],
    }
    rows: Any = summed(said)["models"]
    assert [(row["name"], row["loaded"], row["failed"]) for row in rows] == [
        ("m", 3, 7),
        ("n", 2, 0),
    ]
    assert not list(lacking(said))


def test_a_model_that_fails_is_not_missing() -> None:
    said = [{"models": [model("m", failing="KeyError"), missing("n")]}]
    assert list(lacking(said)) == ["model n: is not there"]


def test_a_cache_is_one_over_all_processes() -> None:
    well = {"name": "verdicts", "reachable": True, "reason": ""}
    away = {"name": "verdicts", "reachable": False, "reason": "redis at x: it cannot be reached"}
    said = [{"caches": [well]}, {"caches": [away]}, {}]
    assert summed(said)["caches"] == [
        {"name": "verdicts", "reachable": 1, "unreachable": 1, "reason": away["reason"]}
    ]
    assert degraded(said) == {}
    assert summed([{}])["caches"] == []
