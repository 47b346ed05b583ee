"""Writes the block of variables for shells, containers and build services, each quoted its way."""

import re
import secrets
import shlex
from collections.abc import Callable, Mapping
from typing import Final

_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_QUOTES: Final = "'\u2018\u2019\u201a\u201b"
"""What PowerShell takes for a single quote."""

type Row = Callable[[str, str], str]


def render(block: Mapping[str, str], shell: str) -> str:
    """Return the block as text for ``shell``, a key of ``SHELLS``, with a final line break.

    Raises:
        ValueError: A name is none, or a value cannot be written there (a line break in an
            env-file, a NUL anywhere).
    """
    for name, value in block.items():
        if not _NAME.fullmatch(name) or "\0" in value:
            raise ValueError(f"{name!r} cannot be a variable, or its value has a NUL")
    row = SHELLS[shell]
    return "".join(f"{row(name, value)}\n" for name, value in block.items())


def _posix(name: str, value: str) -> str:
    # shlex.quote leaves a leading "=" bare, which zsh expands to the path of a program.
    quoted = value.replace("'", "'\"'\"'")
    return f"export {name}='{quoted}'"


def _fish(name: str, value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"set -gx {name} '{escaped}'"


def _powershell(name: str, value: str) -> str:
    doubled = "".join(c * 2 if c in _QUOTES else c for c in value)
    return f"$env:{name} = '{doubled}'"


def _dotenv(name: str, value: str) -> str:
    if "'" not in value and "\n" not in value and "\r" not in value:
        return f"{name}='{value}'"
    for character, escape in (("\\", "\\\\"), ('"', '\\"'), ("\n", "\\n"), ("\r", "\\r")):
        value = value.replace(character, escape)
    return f'{name}="{value}"'


def _env_file(name: str, value: str) -> str:
    if "\n" in value or "\r" in value:
        raise ValueError(f"{name} has a line break, which an env-file cannot hold")
    return f"{name}={value}"


def _docker(name: str, value: str) -> str:
    return f"-e {shlex.quote(f'{name}={value}')} \\"


def _github(name: str, value: str) -> str:
    if "\n" not in value and "\r" not in value:
        return f"{name}={value}"
    end = f"END_{secrets.token_hex(8)}"
    return f"{name}<<{end}\n{value}\n{end}"


SHELLS: Final[Mapping[str, Row]] = {
    "bash": _posix,
    "zsh": _posix,
    "sh": _posix,
    "fish": _fish,
    "powershell": _powershell,
    "dotenv": _dotenv,
    "docker": _docker,
    "docker-env-file": _env_file,
    "github-actions": _github,
}
"""How each writes one variable."""

USAGE: Final[Mapping[str, str]] = {
    "bash": 'eval "$(llmtrace env)"',
    "zsh": 'eval "$(llmtrace env --shell zsh)"',
    "sh": 'eval "$(llmtrace env --shell sh)"',
    "fish": "llmtrace env --shell fish | source",
    "powershell": "llmtrace env --shell powershell | Out-String | Invoke-Expression",
    "dotenv": "llmtrace env --shell dotenv > .env.llmtrace",
    "docker": "docker run $(…) IMAGE, with the lines below",
    "docker-env-file": "llmtrace env --shell docker-env-file > llmtrace.env",
    "github-actions": 'llmtrace env --shell github-actions >> "$GITHUB_ENV"',
}
"""How its output is used, in one line."""
