"""The kinds of findings: what each is called, how bad it is, which OWASP risks it belongs to."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType

import yaml

from llmtrace.domain.findings import Severity


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """One kind of finding. ``owasp`` are ids of the Top 10 for LLM Applications (2025)."""

    name: str
    title: str
    severity: Severity
    owasp: tuple[str, ...]
    about: str


@cache
def kinds() -> Mapping[str, Kind]:
    """Read the kinds that the package knows, by name."""
    text = (files("llmtrace.analyzers") / "kinds.yaml").read_text(encoding="utf-8")
    rows = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    return MappingProxyType({name: _kind(name, row) for name, row in rows.items()})


def _kind(name: str, row: Mapping[str, object]) -> Kind:
    owasp = row["owasp"]
    if not isinstance(owasp, list):
        raise TypeError(f"kinds.yaml: owasp of {name!r} must be a list")
    return Kind(
        name=name,
        title=str(row["title"]),
        severity=Severity(str(row["severity"])),
        owasp=tuple(f"{risk}:2025" for risk in owasp),
        about=str(row["about"]),
    )


def severity_of(kind: str) -> Severity:
    """Return how bad a kind is by itself. Raises: KeyError."""
    return kinds()[kind].severity


def __getattr__(name: str) -> Mapping[str, Kind]:
    """Give ``KINDS``, read when it is first asked for."""
    if name == "KINDS":
        return kinds()
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
