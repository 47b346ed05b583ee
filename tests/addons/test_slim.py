import subprocess
import sys

import pytest

from llmtrace.addons.slim import Hollow, leave_out_default_addons

PROBE = """
import sys
import llmtrace.app.worker
heavy = {"flask", "ldap3", "mitmproxy.addons.proxyauth", "numpy", "onnxruntime"}
heavy |= {"aioquic.quic", "httpx2._client", "mitmproxy_rs.mitmproxy_rs", "pyparsing.core"}
heavy &= set(sys.modules)
print(sorted(heavy), "mitmproxy.addons.next_layer" in sys.modules)
"""


def test_a_worker_imports_only_the_addons_that_it_names_and_no_model() -> None:
    probe = subprocess.run(  # noqa: S603  # our own interpreter
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True
    )
    assert probe.stdout.strip() == "[] True"


def test_once_they_are_there_they_stay() -> None:
    import mitmproxy.addons  # noqa: F401

    assert not leave_out_default_addons()


def test_what_is_hollow_has_classes_without_an_instance() -> None:
    quic = Hollow("mitmproxy.proxy.layers.quic")

    assert not isinstance(object(), quic.QuicStreamEvent)
    assert quic.QuicStreamEvent is quic.QuicStreamEvent
    with pytest.raises(RuntimeError, match="QuicStreamEvent is left out of a worker"):
        quic.QuicStreamEvent()
    assert not hasattr(quic, "__file__")
