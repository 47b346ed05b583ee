"""Names that a call must have exactly: one that no call can have would limit nobody.

They are as calls are named: tenants by ``domain.ids.NAME``, agents by that or by a client's program
or the proxy's user (``providers.clients.plain``), keys by ``storage.keys.TOKEN``.
"""

import re
from collections.abc import Callable
from typing import Annotated, Final

from pydantic import AfterValidator

_TENANT: Final = r"[A-Za-z0-9._:-]{1,128}"
_LETTERS: Final = "1 to 128 of A-Z a-z 0-9 . _ : -"


def _named(what: str, pattern: str, *, expected: str, rest: str) -> Callable[[str], str]:
    """Return a check of whole names; ``rest`` is what holds all that no entry names.

    What is refused is not repeated: where an id is expected, somebody may put a whole key.
    """
    fits = re.compile(pattern)

    def check(name: str) -> str:
        if "*" in name:
            raise ValueError(f"no wildcards here, name one {what}; {rest} holds each {what}")
        if not fits.fullmatch(name):
            raise ValueError(f"no {what} has such a name; expected {expected}")
        return name

    return check


def _glob(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9._:/*-]*", name):
        raise ValueError(f"no agent has such a name; expected {_LETTERS} /, and * for any part")
    return name


_agent = _named(
    "agent",
    r"[A-Za-z0-9._:/-]{1,128}",
    expected=f"{_LETTERS} /",
    rest="cost_caps.default_budget_caps",
)
_tenant = _named(
    "tenant",
    _TENANT,
    expected=_LETTERS,
    rest="cost_caps.default_budget_caps with default_scope: tenant",
)
_rated_tenant = _named(
    "tenant", _TENANT, expected=_LETTERS, rest="what stands in rate_limiting itself"
)
_key = _named(
    "key",
    r"[0-9A-Za-z]{12}",
    expected="its id: 12 letters and digits, as 'llmtrace keys list' shows them",
    rest="cost_caps.default_budget_caps with default_scope: key",
)

type AgentName = Annotated[str, AfterValidator(_agent)]
type AgentGlob = Annotated[str, AfterValidator(_glob)]
"""An agent, with ``*`` for any part."""
type TenantName = Annotated[str, AfterValidator(_tenant)]
type RatedTenant = Annotated[str, AfterValidator(_rated_tenant)]
type KeyId = Annotated[str, AfterValidator(_key)]
