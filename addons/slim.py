"""Keeps mitmproxy's own addons out of a worker's memory. Import it before anything of mitmproxy.

Importing any one of them imports all, with Flask and LDAP behind them: 12 MB and 0.16 s for each
worker. A worker needs two of them (``proxyserver`` and ``next_layer``) and imports them by name.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final

PACKAGE: Final = "mitmproxy.addons"


def leave_out_default_addons() -> bool:
    """Put an empty package in the place of ``mitmproxy.addons``; say whether that was in time."""
    if PACKAGE in sys.modules:
        return False
    found = importlib.util.find_spec("mitmproxy")
    if found is None or not found.submodule_search_locations:
        return False
    package = ModuleType(PACKAGE)
    package.__path__ = [f"{place}/addons" for place in found.submodule_search_locations]
    spec = ModuleSpec(PACKAGE, None, is_package=True)
    spec.submodule_search_locations = package.__path__
    package.__spec__ = spec
    sys.modules[PACKAGE] = package
    return True


leave_out_default_addons()
