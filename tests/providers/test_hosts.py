"""A provider is told under every spelling that reaches it, and nothing else is taken for one."""

import re

import pytest

from llmtrace.providers.hosts import HostTable, default_hosts, shipped_hosts

GOVERNED = {
    "api.openai.com": "openai",
    "eu.api.openai.com": "openai",
    "chatgpt.com": "openai",
    "api.anthropic.com": "anthropic",
    "generativelanguage.googleapis.com": "gemini",
    "cloudcode-pa.googleapis.com": "gemini",
    "aiplatform.googleapis.com": "vertex",
    "us-central1-aiplatform.googleapis.com": "vertex",
    "aiplatform.eu.rep.googleapis.com": "vertex",
    "bedrock-runtime.us-east-1.amazonaws.com": "bedrock",
    "bedrock-runtime-fips.us-west-2.amazonaws.com": "bedrock",
    "bedrock-runtime.xx-new-9.amazonaws.com": "bedrock",
    "vpce-1.bedrock-runtime.us-east-1.vpce.amazonaws.com": "bedrock",
    "corp.openai.azure.com": "azure",
    "corp.cognitiveservices.azure.com": "azure",
    "corp.services.ai.azure.com": "azure",
    "models.inference.ai.azure.com": "github-models",
    "api.mistral.ai": "mistral",
    "api.cohere.com": "cohere",
    "api.groq.com": "groq",
    "api.deepseek.com": "deepseek",
    "api.x.ai": "xai",
    "openrouter.ai": "openrouter",
    "api.together.xyz": "together",
    "api.fireworks.ai": "fireworks",
    "api.perplexity.ai": "perplexity",
    "router.huggingface.co": "huggingface",
    "api.githubcopilot.com": "copilot",
    "api.individual.githubcopilot.com": "copilot",
    "api.cerebras.ai": "cerebras",
    "api.moonshot.cn": "moonshot",
    "api.z.ai": "zai",
    "open.bigmodel.cn": "zhipu",
    "api.minimax.io": "minimax",
    "ollama.com": "ollama",
}


@pytest.mark.parametrize(("host", "provider"), GOVERNED.items())
def test_providers_are_told_by_host(host: str, provider: str) -> None:
    hosts = default_hosts()
    assert hosts.provider_of(host) == provider
    assert hosts.kind(host) == "provider"
    assert hosts.is_shipped(host)


@pytest.mark.parametrize(
    "host",
    [
        "api.openai.com.evil.test",
        "evilapi.openai.com",
        "api-openai.com",
        "openai.com",
        "xn--pi-7kc.openai.com",
        "openai.azure.com",
        "evilopenai.azure.com",
        "bedrock-runtime.amazonaws.com",
        "bedrock-runtime.a.b.amazonaws.com",
        "bedrock-runtime..amazonaws.com",
        "bedrock-runtime.us-east-1.amazonaws.com.evil.test",
        "s3.us-east-1.amazonaws.com",
        "x.us-central1-aiplatform.googleapis.com",
        "storage.googleapis.com",
        "example.com",
        "127.0.0.1",
    ],
)
def test_look_alikes_are_not_providers(host: str) -> None:
    assert default_hosts().provider_of(host) is None
    assert not default_hosts().is_shipped(host)


@pytest.mark.parametrize("host", ["play.googleapis.com", "telemetry.individual.githubcopilot.com"])
def test_telemetry_of_a_vendor_is_not_governed(host: str) -> None:
    assert default_hosts().provider_of(host) is None
    assert default_hosts().kind(host) == "telemetry"


def test_other_hosts_are_other() -> None:
    assert default_hosts().kind("example.com") == "other"


def test_ollama_is_told_by_its_port() -> None:
    assert default_hosts().provider_of("gpu.example", 11434) == "ollama"


def test_the_users_own_hosts_come_first() -> None:
    hosts = HostTable(
        {
            "llm.corp.example": "vllm",
            "*.models.corp.example": "Azure_OpenAI",
            "10.0.0.5:8000": "sglang",
            "[fd12::1]:80": "tgi",
            "api.openai.com": "my-relay",
            "play.googleapis.com": "custom",
        }
    )
    assert hosts.provider_of("llm.corp.example") == "vllm"
    assert hosts.provider_of("a.b.models.corp.example") == "azure"
    assert hosts.provider_of("models.corp.example") is None
    assert hosts.provider_of("10.0.0.5", 8000) == "sglang"
    assert hosts.provider_of("10.0.0.5", 443) is None
    assert hosts.provider_of("fd12::1", 80) == "tgi"
    assert hosts.provider_of("api.openai.com") == "my-relay"
    assert hosts.provider_of("play.googleapis.com") == "custom"
    assert hosts.family("my-relay") == ""
    assert (hosts.named("My-Relay"), hosts.named("hf")) == ("my-relay", "huggingface")
    assert hosts.named("nobody") is None
    assert {"llm.corp.example", "models.corp.example"} <= set(hosts.permitted_dns())
    assert hosts.permitted_addresses() == ["10.0.0.5", "fd12::1"]


def test_the_users_own_telemetry_is_left_alone() -> None:
    hosts = HostTable(telemetry=("logs.openai.azure.com",))
    assert hosts.provider_of("logs.openai.azure.com") is None


@pytest.mark.parametrize(
    "extra",
    [{"https://x.example": "vllm"}, {"*.": "vllm"}, {"*": "vllm"}, {"x.example": "no good"}],
    ids=["url", "empty-suffix", "star-alone", "odd-provider"],
)
def test_a_bad_entry_is_an_error_that_names_it(extra: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=re.escape(repr(next(iter(extra))))) as caught:
        HostTable(extra)
    assert "expected" in str(caught.value) or "is no" in str(caught.value)


def test_permitted_dns_holds_every_shipped_host_and_no_more() -> None:
    trees = default_hosts().permitted_dns()
    assert trees == sorted(set(trees))
    for host in GOVERNED:
        if "xx-new-9" not in host:
            assert any(host == tree or host.endswith("." + tree) for tree in trees), host
    assert not {"com", "amazonaws.com", "googleapis.com", "azure.com", "openai.com"} & set(trees)
    below = [a for a in trees for b in trees if a.endswith("." + b)]
    assert below == []


def test_every_pattern_of_the_list_is_found_again() -> None:
    hosts = default_hosts()
    for provider in shipped_hosts().providers.values():
        for pattern in provider.hosts:
            host = re.sub(r"\{\w+\}", "eu-west-1", pattern).replace("*.", "a.")
            assert hosts.provider_of(host) == provider.name, pattern
        assert hosts.resolve_provider(provider.name) == provider.name
        assert all(hosts.resolve_provider(alias) == provider.name for alias in provider.aliases)


OPENAI, CLAUDE, ELSE = "api.openai.com", "api.anthropic.com", "example.com"


@pytest.mark.parametrize(
    ("connect", "sni", "host", "kind", "provider"),
    [
        pytest.param(OPENAI, OPENAI, OPENAI, "governed", "openai", id="all-agree"),
        pytest.param(f"{OPENAI}:443", OPENAI, f"{OPENAI}:443", "governed", "openai", id="ports"),
        pytest.param("API.OPENAI.COM.", OPENAI, None, "governed", "openai", id="spelling"),
        pytest.param(OPENAI, None, None, "governed", "openai", id="connect-alone"),
        pytest.param(None, OPENAI, None, "governed", "openai", id="sni-alone"),
        pytest.param(None, None, OPENAI, "governed", "openai", id="host-alone"),
        pytest.param("203.0.113.9:443", OPENAI, None, "governed", "openai", id="ip-and-sni"),
        pytest.param("203.0.113.9", None, OPENAI, "governed", "openai", id="ip-and-host"),
        pytest.param("2130706433", OPENAI, OPENAI, "governed", "openai", id="odd-ip-and-both"),
        pytest.param("[2606:4700::1]:443", OPENAI, None, "governed", "openai", id="v6-and-sni"),
        pytest.param(ELSE, ELSE, ELSE, "other", None, id="ungoverned"),
        pytest.param("203.0.113.9", "203.0.113.9", None, "other", None, id="ip-everywhere"),
    ],
)
def test_the_union_decides(
    connect: str | None, sni: str | None, host: str | None, kind: str, provider: str | None
) -> None:
    decision = default_hosts().classify(connect=connect, sni=sni, host_header=host)
    assert (decision.kind, decision.provider, decision.reason) == (kind, provider, "")


@pytest.mark.parametrize(
    ("connect", "sni", "host"),
    [
        pytest.param(ELSE, OPENAI, OPENAI, id="connect-differs"),
        pytest.param(OPENAI, ELSE, OPENAI, id="sni-differs"),
        pytest.param(OPENAI, OPENAI, ELSE, id="host-differs"),
        pytest.param(OPENAI, CLAUDE, ELSE, id="all-differ"),
        pytest.param(OPENAI, CLAUDE, None, id="two-providers"),
        pytest.param(None, OPENAI, ELSE, id="no-connect"),
        pytest.param("203.0.113.9", OPENAI, ELSE, id="ip-and-two-names"),
        pytest.param("203.0.113.9", "203.0.113.8", None, id="two-addresses"),
        pytest.param(OPENAI, "203.0.113.9", None, id="name-then-ip-sni"),
        pytest.param(OPENAI, None, "127.0.0.1", id="name-then-ip-host"),
        pytest.param("203.0.113.9", OPENAI, "203.0.113.9", id="ip-name-ip"),
        pytest.param(f"{OPENAI}:443", None, f"{OPENAI}:8443", id="ports-differ"),
        pytest.param(ELSE, "www.example.com", None, id="ungoverned-disagree"),
    ],
)
def test_disagreement_is_refused(connect: str | None, sni: str | None, host: str | None) -> None:
    decision = default_hosts().classify(connect=connect, sni=sni, host_header=host)
    assert (decision.kind, decision.reason) == ("refused", "authority_mismatch")


@pytest.mark.parametrize(
    "host", ["user@api.openai.com", "%61pi.openai.com", ""], ids=["userinfo", "percent", "none"]
)
def test_a_bad_host_is_refused(host: str) -> None:
    decision = default_hosts().classify(host_header=host)
    assert (decision.kind, decision.reason) == ("refused", "bad_host")


def test_the_users_address_is_governed_by_its_port() -> None:
    hosts = HostTable({"10.0.0.5:8000": "vllm"})
    assert hosts.classify(host_header="10.0.0.5:8000").provider == "vllm"
    assert hosts.classify(host_header="10.0.0.5:9000").provider is None
