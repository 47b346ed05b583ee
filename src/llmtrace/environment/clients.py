"""The table of clients and runtimes (``clients.yaml``), and what a command runs on."""

import re
import subprocess
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field

MAX_SHEBANG: Final = 256
_PICKED_UP: Final = re.compile(r"^Picked up .*$", re.MULTILINE)
_VERSION: Final = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?|(?<![\w.])(\d+)(?![\w.])")

type Verdict = Literal["ok", "warn", "fail"]
type Version = tuple[int, ...]
type Ask = Callable[[Sequence[str]], str | None]
"""Runs a command and returns what it says on both outputs, None if it could not be run."""


class _Row(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Reason(_Row):
    """Something that keeps a client from the gateway, and what to do about it."""

    why: str
    fix: str


class Rule(Reason):
    """A reason that goes for some versions: ``from`` <= version < ``below``."""

    verdict: Verdict
    start: Annotated[str, Field(alias="from")] = ""
    below: str = ""

    def fits(self, version: Version) -> bool:
        """Whether it goes for this version."""
        low = not self.start or version >= _numbers(self.start)
        return low and (not self.below or version < _numbers(self.below))


class Client(_Row):
    """One row: a program or a runtime.

    Attributes:
        names: Programs that are it, or run on it; its key is one.
        runtime: The row of the runtime it is a script of.
        probe: What tells its version; ``KEY --version`` by default.
        tested: The version that the block was verified with.
        silent: What may have happened when no call was seen.
        run: What a person types behind ``llmtrace run --``.
        base_url: A line that puts it behind base-URL mode instead.
    """

    title: str
    names: tuple[str, ...] = ()
    runtime: str = ""
    probe: tuple[str, ...] = ()
    tested: str = ""
    rules: tuple[Rule, ...] = ()
    silent: tuple[Reason, ...] = ()
    run: str = ""
    base_url: str = ""


class Enforced(_Row):
    """A client that was tested, unmodified, behind a gateway that enforces.

    Attributes:
        client: Its name.
        tested: Its version.
        calls: What it was asked to do.
        ways: How it was put behind the gateway.
        refused: What it makes of a request that is blocked.
        stopped: What it makes of an answer that is blocked as it comes.
    """

    client: str
    tested: str
    calls: str
    ways: Annotated[tuple[Literal["proxy", "base URL"], ...], Field(min_length=1)] = (
        "proxy",
        "base URL",
    )
    refused: str
    stopped: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A client on this machine. ``version`` is empty where it does not tell."""

    key: str
    client: Client
    version: str = ""
    rule: Rule | None = None

    @property
    def verdict(self) -> Verdict:
        """Whether it honours the block."""
        return self.rule.verdict if self.rule else "ok"


@cache
def table() -> Mapping[str, Client]:
    """Return the rows by key."""
    return {key: Client(**row) for key, row in _read()["clients"].items()}


def enforced() -> tuple[Enforced, ...]:
    """Return what was tested behind a gateway that enforces."""
    return tuple(Enforced(**row) for row in _read()["enforced"])


def _read() -> dict[str, Any]:
    text = (files("llmtrace.environment") / "clients.yaml").read_text(encoding="utf-8")
    read: dict[str, Any] = yaml.safe_load(text)
    return read


def examine(key: str, ask: Ask) -> Found:
    """Ask a client for its version and judge it by its rules."""
    client = table()[key]
    said = ask(client.probe or (key, "--version")) or ""
    match = _VERSION.search(without_banner(said)[:2000])
    if match is None:
        return Found(key=key, client=client)
    version = _numbers(match[0])
    rule = next((rule for rule in client.rules if rule.fits(version)), None)
    return Found(key=key, client=client, version=match[0], rule=rule)


def without_banner(said: str) -> str:
    """Leave out what Java says first: the options that it takes from the environment."""
    return _PICKED_UP.sub("", said)


def behind(command: str, which: Callable[[str], str | None]) -> tuple[str, ...]:
    """Return the rows that a command is, or runs on: its name's, its runtime's, its script's."""
    name = re.sub(r"\.(exe|cmd|ps1|js|mjs|py|jar)$", "", Path(command).name.lower())
    own = [key for key, row in table().items() if _is(name, key, row)]
    found = own + [table()[key].runtime for key in own if table()[key].runtime]
    found += [key for word in _shebang(which(command)) for key in table() if _is(word, key)]
    return tuple(dict.fromkeys(found))


def _is(name: str, key: str, row: Client | None = None) -> bool:
    names = (key, *(row or table()[key]).names)
    return name in names or re.sub(r"[\d.]+$", "", name) in names


def _shebang(path: str | None) -> list[str]:
    """Return the names of the programs in a script's first line."""
    try:
        with open(path or "", "rb") as file:
            first = file.read(MAX_SHEBANG).split(b"\n")[0]
    except OSError:
        return []
    if not first.startswith(b"#!"):
        return []
    return [Path(word).name for word in first[2:].decode("utf-8", "replace").split()]


def _numbers(version: str) -> Version:
    return tuple(int(number) for number in version.split("."))


def ask(command: Sequence[str]) -> str | None:
    """Run a command that tells a version; what it says, at most ten seconds later."""
    try:
        done = subprocess.run(  # noqa: S603  a probe of the table
            command,
            check=False,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=10,
            text=True,
            errors="replace",
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout + done.stderr
