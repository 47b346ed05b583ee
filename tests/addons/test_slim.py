import subprocess
import sys

from llmtrace.addons.slim import leave_out_default_addons

PROBE = """
import sys
import llmtrace.app.worker
heavy = {"flask", "ldap3", "mitmproxy.addons.proxyauth", "numpy", "onnxruntime"} & set(sys.modules)
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
