import pytest
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


def test_installed_mitmproxy_is_a_supported_one() -> None:
    check_version()


@pytest.mark.parametrize("version", ["12.1.9", "12.3.0", "13.0.0"])
def test_other_mitmproxy_is_refused(version: str) -> None:
    with pytest.raises(RuntimeError, match=f"mitmproxy is {version}, expected 12.2.x"):
        check_version(version)
