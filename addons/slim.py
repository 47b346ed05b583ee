"""Keeps what a worker never uses out of its memory. Import it before anything of mitmproxy.

Importing any one of mitmproxy's own addons imports all, with Flask and LDAP behind them: 12 MB and
0.16 s for each worker. A worker needs two of them (``proxyserver`` and ``next_layer``) and imports
them by name. QUIC, HTTP/3, the language of mitmproxy's commands and the HTTP client that fetches
prices are 14 MB more; what imports them gets classes of which there is no instance, so that it
finds nothing to do for them.
"""

import importlib.util
import sys
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Final, NoReturn

PACKAGE: Final = "mitmproxy.addons"
UNUSED: Final = (
    "genai_prices.update_prices",
    "mitmproxy.command_lexer",
    "mitmproxy.proxy.layers.http._http3",
    "mitmproxy.proxy.layers.quic",
    "mitmproxy_rs",
    "pyparsing",
    "ruamel.yaml",
)
"""Listeners speak TCP, commands and options come from code, prices from the package: none of these
is reached. ``mitmproxy_rs`` is for UDP, WireGuard and the redirection of a whole machine."""


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


def leave_out_unused() -> None:
    """Put a hollow module in the place of each in ``UNUSED`` that is not imported yet."""
    for name in UNUSED:
        sys.modules.setdefault(name, Hollow(name))


class Hollow(ModuleType):
    """Has every name that is asked of it: a class that cannot be made."""

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        made = type(name, (), {"__module__": self.__name__, "__new__": _refuse})
        setattr(self, name, made)
        return made


def _refuse(cls: type, *_args: object, **_more: object) -> NoReturn:
    raise RuntimeError(f"{cls.__module__}.{cls.__name__} is left out of a worker")


if leave_out_default_addons():
    leave_out_unused()
