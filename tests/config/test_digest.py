import pytest
from pydantic import SecretStr

from llmtrace.config import Config
from llmtrace.config.digest import differing, digests


def with_keys(**keys: object) -> Config:
    return Config.model_validate(keys)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        pytest.param({}, (), id="the-same"),
        pytest.param({"mode": "enforce"}, ("mode",), id="enforcement"),
        pytest.param({"cost_caps": {"enabled": True}}, ("cost_caps",), id="budgets"),
        pytest.param(
            {"egress": "deny", "storage": {"bodies": False}}, ("egress", "storage"), id="two"
        ),
        pytest.param(
            {
                "listen": "127.0.0.1:1",
                "api": {"listen": "127.0.0.1:2"},
                "workers": 3,
                "upstream_proxy": "http://corp:3128",
                "storage": {"database_path": "/srv/traces.db"},
                "logging": {"level": "debug"},
            },
            (),
            id="where-it-runs",
        ),
    ],
)
def test_what_changes_the_fate_of_calls_differs(
    keys: dict[str, object], expected: tuple[str, ...]
) -> None:
    assert differing(with_keys(**keys), digests(Config())) == expected


def test_the_order_of_keys_makes_no_difference() -> None:
    one, other = {"a.example": "https://a", "b.example": "https://b"}, {"b.example": "https://b"}
    there = digests(with_keys(upstreams=one))
    assert differing(with_keys(upstreams=other | {"a.example": "https://a"}), there) == ()


@pytest.mark.parametrize("said", [None, {}, [], {"mode_of_old": "1"}], ids=repr)
def test_a_gateway_that_says_nothing_of_it_is_not_told_apart(said: object) -> None:
    assert differing(with_keys(mode="enforce"), said) == ()


def test_no_digest_helps_to_guess_a_secret() -> None:
    one, other = (
        with_keys(storage={"redis_url": SecretStr(f"redis://:{word}@host:1")})
        for word in ("guessed", "other")
    )
    assert digests(one) == digests(other) != digests(Config())
