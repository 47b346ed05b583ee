from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest

from llmtrace.environment.block import environment_block, no_proxy, upstream_proxy, with_user
from llmtrace.environment.trust import JavaTrust, Trust

URL = "http://127.0.0.1:8642"


def block(trust: Trust, existing: Mapping[str, str] | None = None, run: str = "") -> dict[str, str]:
    return environment_block(
        proxy_url=URL, trust=trust, existing=existing or {}, run_id=run, token="t0ken"
    )


def test_the_block_has_every_variable_that_clients_were_tested_with(trust: Trust) -> None:
    made = block(trust, run="brave-otter")
    proxies = {made[n] for n in ("HTTPS_PROXY", "HTTP_PROXY", "https_proxy", "http_proxy")}
    assert proxies == {"http://brave-otter:t0ken@127.0.0.1:8642"}
    assert made["NODE_USE_ENV_PROXY"] == "1"
    assert made["NODE_EXTRA_CA_CERTS"] == made["DENO_CERT"] == str(trust.ca)
    replaced = [
        "SSL_CERT_FILE",
        "REQUESTS_CA_BUNDLE",
        "CURL_CA_BUNDLE",
        "AWS_CA_BUNDLE",
        "GIT_SSL_CAINFO",
        "PIP_CERT",
        "CODEX_CA_CERTIFICATE",
        "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
        "CARGO_HTTP_CAINFO",
    ]
    assert {made[name] for name in replaced} == {str(trust.bundle)}
    assert made["LLMTRACE_RUN_ID"] == "brave-otter"
    assert "SSL_CERT_DIR" not in made
    assert "JAVA_TOOL_OPTIONS" not in made


def test_without_a_run_there_is_no_user_in_the_url(trust: Trust) -> None:
    made = block(trust)
    assert made["HTTPS_PROXY"] == URL
    assert "LLMTRACE_RUN_ID" not in made


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        ({}, "localhost,127.0.0.1,::1,169.254.169.254"),
        ({"NO_PROXY": "a.b, .c ,"}, "localhost,127.0.0.1,::1,169.254.169.254,a.b,.c"),
        ({"no_proxy": "::1,x"}, "localhost,127.0.0.1,::1,169.254.169.254,x"),
    ],
)
def test_what_the_user_excepted_stays_excepted(existing: dict[str, str], expected: str) -> None:
    assert no_proxy(existing) == expected


def test_user_and_password_are_written_for_a_url() -> None:
    assert with_user(URL, "a b", "p@:/") == "http://a%20b:p%40%3A%2F@127.0.0.1:8642"
    assert with_user("http://old:x@[::1]:1", "u", "p") == "http://u:p@[::1]:1"


@pytest.mark.parametrize(
    ("existing", "expected"),
    [
        pytest.param({}, None, id="none"),
        pytest.param({"HTTPS_PROXY": "http://corp:3128"}, "http://corp:3128", id="upper"),
        pytest.param({"https_proxy": "http://u:p@corp:1"}, "http://u:p@corp:1", id="with-password"),
        pytest.param({"ALL_PROXY": "corp:3128"}, "http://corp:3128", id="no-scheme"),
        pytest.param({"HTTPS_PROXY": "socks5://corp:1"}, None, id="socks"),
        pytest.param({"HTTPS_PROXY": URL}, None, id="the-gateway-itself"),
        pytest.param({"HTTPS_PROXY": "http://r:t@127.0.0.1:8642"}, None, id="a-run-within-a-run"),
        pytest.param(
            {"HTTPS_PROXY": "http://r:t@127.0.0.1:9999", "LLMTRACE_RUN_ID": "r"},
            None,
            id="a-run-within-another-gateways-run",
        ),
        pytest.param({"HTTPS_PROXY": "http://[bad"}, None, id="no-url"),
    ],
)
def test_the_users_own_proxy_is_what_the_gateway_goes_through(
    existing: dict[str, str], expected: str | None
) -> None:
    assert upstream_proxy(existing, listen="127.0.0.1:8642") == expected


def test_java_is_told_at_the_end_of_its_own_options(trust: Trust) -> None:
    with_java = replace(trust, java=JavaTrust(path=Path("/t/java.p12"), password="changeit"))
    made = block(with_java, {"JAVA_TOOL_OPTIONS": "-Xmx1g", "NO_PROXY": ".corp,10.0.0.0/8,*.x"})
    assert made["JAVA_TOOL_OPTIONS"] == (
        "-Xmx1g -Dhttp.proxyHost=127.0.0.1 -Dhttp.proxyPort=8642"
        " -Dhttps.proxyHost=127.0.0.1 -Dhttps.proxyPort=8642"
        " -Dhttp.nonProxyHosts=localhost|127.0.0.1|::1|169.254.169.254|*.corp|*.x"
        " -Djavax.net.ssl.trustStore=/t/java.p12 -Djavax.net.ssl.trustStorePassword=changeit"
    )


def test_java_words_with_spaces_are_quoted_and_own_exceptions_kept(trust: Trust) -> None:
    with_java = replace(trust, java=JavaTrust(path=Path("/my home/j.p12"), password="x"))
    made = block(with_java, {"JAVA_TOOL_OPTIONS": "-Dhttp.nonProxyHosts=corp"})
    assert '"-Djavax.net.ssl.trustStore=/my home/j.p12"' in made["JAVA_TOOL_OPTIONS"]
    assert made["JAVA_TOOL_OPTIONS"].count("nonProxyHosts") == 1
