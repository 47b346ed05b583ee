"""One check of the doctor: what was looked at, how it stands, and what to do in one line."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Status(StrEnum):
    """How a check stands, best first."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """The result of one check. ``fix`` is empty where nothing is to be done."""

    area: str
    name: str
    status: Status
    detail: str
    fix: str = ""


type Examine = Callable[[], Iterator[Check]]
"""Looks at one area. It changes nothing but what ``llmtrace run`` would make as well."""


def run_checks(examinations: Sequence[tuple[str, Examine]]) -> Iterator[Check]:
    """Run all, one after another; one that breaks is a failed check and no end of the rest."""
    for area, examine in examinations:
        try:
            yield from examine()
        except (OSError, ValueError, RuntimeError, LookupError) as error:
            yield Check(area=area, name=area, status=Status.FAIL, detail=str(error))


def ok(area: str, name: str, detail: str) -> Check:
    """Return a check that stands well."""
    return Check(area=area, name=name, status=Status.OK, detail=detail)


def warn(area: str, name: str, detail: str, fix: str) -> Check:
    """Return a check that may hurt."""
    return Check(area=area, name=name, status=Status.WARN, detail=detail, fix=fix)


def fail(area: str, name: str, detail: str, fix: str) -> Check:
    """Return a check that keeps something from working."""
    return Check(area=area, name=name, status=Status.FAIL, detail=detail, fix=fix)


def worst(checks: Sequence[Check]) -> Status:
    """Return how they stand as a whole."""
    order = list(Status)
    return max((check.status for check in checks), key=order.index, default=Status.OK)
