import pytest
from mitmproxy import http
from mitmproxy.proxy import layers
from mitmproxy.proxy.layers import http as http_layers

from llmtrace.addons.hardening.guards import Guards
from llmtrace.addons.hardening.install import check_version, hardened


def test_layers_are_ours_within_the_block_alone() -> None:
    before = vars(http_layers)["Http1Server"], layers.ClientTLSLayer
    guards = Guards()
    with hardened(guards):
        server = vars(http_layers)["Http1Server"]
        assert issubclass(server, before[0])
        assert server is not before[0]
        assert server.guards is guards
    assert (vars(http_layers)["Http1Server"], layers.ClientTLSLayer) == before


def test_help_for_developers_is_off_within_the_block_alone() -> None:
    help_of = http.MessageData.__post_init__
    with hardened(Guards()):
        http.Request.make("GET", "http://example.com/").data.__post_init__()
        assert http.MessageData.__post_init__ is not help_of
    assert http.MessageData.__post_init__ is help_of


def test_installed_mitmproxy_is_a_supported_one() -> None:
    check_version()


@pytest.mark.parametrize("version", ["12.1.9", "12.3.0", "13.0.0"])
def test_other_mitmproxy_is_refused(version: str) -> None:
    with pytest.raises(RuntimeError, match=f"mitmproxy is {version}, expected 12.2.x"):
        check_version(version)
