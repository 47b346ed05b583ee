"""Gets one model from a hub. Run as a program of its own, by ``hubfetch``.

What the hub's client library reads from its environment at import is given to this program, not to
the gateway; what hangs in it is ended with it.
"""

import errno
import hashlib
import json
import math
import os
import re
import resource
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi, get_session, hf_hub_download
from huggingface_hub.errors import (
    FileMetadataError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
    RemoteEntryNotFoundError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from llmtrace.analyzers.model.hubcache import COMMIT
from llmtrace.analyzers.model.hubrepository import CONFIG, NETWORKS, TOKENIZER_CONFIG
from llmtrace.analyzers.model.manifest import TOKENIZER

MAX_BYTES: Final = 4 << 30
"""Largest model that is fetched."""
REQUEST_SECONDS: Final = 10.0
"""Longest silence of the hub."""
BESIDE: Final = ("{}_data", "{}.data", "{}_data_1")
"""Names of files with the weights of a network that does not hold them itself."""
TOKEN: Final = "HF_TOKEN"  # noqa: S105  a variable's name
AGAIN: Final = (
    "nothing of it is kept: try again, and if it stays so, ask who runs the hub or the proxy on "
    "the way"
)


class CannotFetch(Exception):
    """A model cannot be had; the message says why, and what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What is to be fetched, from where, into which folder, within how many seconds.

    ``known`` are the commits that are there already, with the names of their files.
    """

    id: str
    revision: str
    file: str | None
    endpoint: str
    folder: str
    seconds: float
    known: Mapping[str, Sequence[str]]


def download(asked: Asked) -> Mapping[str, Any]:
    """Fetch a model's files into a folder, and check them against what the hub says of them.

    Returns:
        ``commit``, and ``files``: the SHA-256 of each by its name. They are empty where all of
        them are ``known``.

    Raises:
        CannotFetch: It cannot be had.
    """
    try:
        return _download(asked)
    except CannotFetch:
        raise
    except Exception as error:  # the client raises what its HTTP library does, and more
        raise CannotFetch(f"{asked.id}: {_why(error, asked)}") from error


def _download(asked: Asked) -> Mapping[str, Any]:
    commit, there = _listing(asked)
    pinned = COMMIT.fullmatch(asked.revision) is not None
    if not COMMIT.fullmatch(commit) or (pinned and commit != asked.revision):
        raise CannotFetch(
            f"{asked.id}: {asked.endpoint} has commit {commit[:40] or 'unknown'} where "
            f"{asked.revision} was asked for; check ml.endpoint"
        )
    names = _wanted(asked, there)
    if set(names) <= set(asked.known.get(commit, ())):
        return {"commit": commit, "files": {}}
    _room(asked, [there[name] for name in names])
    return {"commit": commit, "files": {name: _file(asked, commit, there[name]) for name in names}}


def _listing(asked: Asked) -> tuple[str, Mapping[str, Any]]:
    """Return the commit that the revision is, and what the hub says of each of its files."""
    with _answers() as answers:
        try:
            info = HfApi(endpoint=asked.endpoint, token=_token()).model_info(
                asked.id, revision=asked.revision, files_metadata=True, timeout=_silence(asked)
            )
            return _listed(info)
        except Exception as error:  # the client reads an answer as if it had the right form
            if not answers or not _is_odd(error):
                raise
            raise CannotFetch(
                f"{asked.id}: {asked.endpoint} is no hub: it answered {answers[-1]} where the "
                "hub's JSON was expected; check ml.endpoint, and whether a proxy answers instead"
            ) from error


def _listed(info: Any) -> tuple[str, Mapping[str, Any]]:
    """Check the form of what is used of a listing. Raises: TypeError."""
    there = {one.rfilename: one for one in info.siblings or ()}
    sizes = [one.size for one in there.values() if one.size is not None]
    if not all(isinstance(one, str) for one in (info.sha or "", *there)):
        raise TypeError("a commit or a name is no text")
    if not all(isinstance(one, int) for one in sizes):
        raise TypeError("a size is no number")
    return info.sha or "", there


@contextmanager
def _answers() -> Iterator[list[str]]:
    """Note status and media type of each answer that comes meanwhile."""
    seen: list[str] = []

    def note(response: Any) -> None:
        kind = re.match(r"[\w.+/-]{1,60}", response.headers.get("content-type", ""))
        seen.append(f"{response.status_code} ({kind[0] if kind else 'of no type'})")

    hooks = get_session().event_hooks["response"]
    hooks.append(note)
    try:
        yield seen
    finally:
        hooks.remove(note)


def _is_odd(error: Exception) -> bool:
    """Whether an error says that an answer came, and is not what a hub answers."""
    kinds = (ArithmeticError, AttributeError, LookupError, RecursionError, TypeError, ValueError)
    return isinstance(error, kinds) or type(error).__name__ == "TooManyRedirects"


def _file(asked: Asked, commit: str, told: Any) -> str:
    """Fetch a file, check it, and return its SHA-256."""
    name = told.rfilename
    try:
        hf_hub_download(
            asked.id,
            name,
            revision=commit,
            endpoint=asked.endpoint,
            token=_token(),
            local_dir=asked.folder,
            etag_timeout=_silence(asked),
        )
    except Exception as error:  # as above
        raise CannotFetch(f"{asked.id}: {name}: {_why(error, asked, told.size)}") from error
    return _checked(asked, Path(asked.folder) / name, told)


def _token() -> str | bool:
    return os.environ.get(TOKEN) or False


def _silence(asked: Asked) -> float:
    return min(REQUEST_SECONDS, asked.seconds)


def _wanted(asked: Asked, there: Mapping[str, Any]) -> list[str]:
    """Return the names of the files that are needed, of those that are there."""
    missing = [name for name in (CONFIG, TOKENIZER) if name not in there]
    if missing:
        raise CannotFetch(
            f"{asked.id}: has no {' and no '.join(missing)}; choose a repository that has one, or "
            "export the model yourself and name the folder"
        )
    found = [name for name in ([asked.file] if asked.file else NETWORKS) if name in there]
    if not found:
        others = sorted(name for name in there if name.endswith(".onnx"))[:8]
        hint = (
            f"it has {', '.join(others)}: name one with --file and as ml.models[].file"
            if others
            else "choose a repository with an ONNX export, or export it yourself (optimum-cli "
            "export onnx) and name the folder as ./FOLDER"
        )
        raise CannotFetch(f"{asked.id}: has no {asked.file or ', '.join(NETWORKS)}; {hint}")
    beside = (pattern.format(found[0]) for pattern in BESIDE)
    optional = [name for name in (TOKENIZER_CONFIG, *beside) if name in there]
    return [CONFIG, TOKENIZER, *optional, found[0]]


def _room(asked: Asked, files: Sequence[Any]) -> None:
    size, most = sum(one.size or 0 for one in files), _most_bytes()
    if size > MAX_BYTES:
        raise CannotFetch(
            f"{asked.id}: is {size / 1e9:.1f} GB, at most {MAX_BYTES / 1e9:.1f} GB are fetched; "
            "name a smaller file (onnx/model_quantized.onnx) with --file"
        )
    for one in files:
        if (one.size or 0) > most:
            raise CannotFetch(
                f"{asked.id}: {one.rfilename}: has {one.size} bytes, a file may have {most} here "
                "(ulimit -f); raise that limit"
            )
    free = shutil.disk_usage(asked.folder).free
    if free < size:
        raise CannotFetch(
            f"{asked.id}: needs {size / 1e6:,.0f} MB, {free / 1e6:,.0f} MB are free in "
            f"{Path(asked.folder).parent}; make room, or choose another ml.cache_dir"
        )


def _checked(asked: Asked, path: Path, told: Any) -> str:
    """Return a file's SHA-256 once it is what the hub says that it is."""
    size, lfs = path.stat().st_size, told.lfs
    with path.open("rb") as file:
        seal = hashlib.file_digest(file, "sha256").hexdigest()
    if lfs is not None:
        found, wanted = seal, str(lfs.sha256)
    else:
        header = f"blob {size}\0".encode()
        found = hashlib.sha1(header + path.read_bytes(), usedforsecurity=False).hexdigest()
        wanted = str(told.blob_id)
    if found != wanted or (told.size is not None and told.size != size):
        raise CannotFetch(
            f"{asked.id}: {told.rfilename} came with checksum {found[:12]}… and {size} bytes, the "
            f"hub says {wanted[:12]}… and {told.size}; {AGAIN}"
        )
    return seal


def _most_bytes() -> int:
    """Return how long a file may be: what the system allows, where that is less than ours."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    return MAX_BYTES if hard == resource.RLIM_INFINITY else min(MAX_BYTES, hard)


def _why(error: BaseException, asked: Asked, size: int | None = None) -> str:
    """Say what went wrong in words of ours: those of the client have addresses and ids in them.

    ``size`` is that of the file that was fetched, as the hub says.
    """
    chain = list(_chain(error))
    if said := _full(chain, asked, size):
        return said
    for fault, said in _SAID:
        if any(isinstance(one, fault) for one in chain):
            return said.format(**_parts(asked))
    for one in chain:
        if isinstance(one, HfHubHTTPError):
            return _status(one.response.status_code, asked)
    if said := _short(chain, size):
        return said
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return f"{error.filename}: {error.strerror}"
    kind = type(chain[-1]).__name__
    return (
        f"{asked.endpoint} cannot be reached ({kind}); check the network, HTTPS_PROXY and "
        "ml.endpoint, or copy the model's folder from a machine that has it"
    )


def _full(chain: Sequence[BaseException], asked: Asked, size: int | None) -> str:
    """Say that no more could be written, if that is so."""
    faults = {one.errno for one in chain if isinstance(one, OSError)}
    if faults & {errno.ENOSPC, errno.EDQUOT}:
        place = Path(asked.folder).parent
        return f"no space is left in {place}; make room, or choose another ml.cache_dir"
    if errno.EFBIG in faults:
        return (
            f"grew beyond the {_most_bytes()} bytes that a file may have here (ulimit -f), the hub "
            f"says {'nothing of its size' if size is None else size}; {AGAIN}"
        )
    return ""


def _short(chain: Sequence[BaseException], size: int | None) -> str:
    """Say that a file did not come with the bytes that it should have, if that is so."""
    for one in chain:
        text = str(one)[:MOST_READ]
        if found := _LENGTH.search(text):
            form = "cut short" if size is None or int(found[2]) < size else "too long"
            return f"came {form}: {found[2]} bytes, the hub says {size or found[1]}; {AGAIN}"
        if type(one).__name__ in _BROKEN and size is not None:
            at = _REST.search(text)
            last = f"; the last answer ended after {at[1]} of {at[2]} bytes" if at else ""
            return f"broke off again and again before its {size} bytes were there{last}; {AGAIN}"
    return ""


MOST_READ: Final = 1000
"""How many characters of an error of the client are read."""
_LENGTH: Final = re.compile(
    r"Consistency check failed: file should be of size (\d{1,20}) but has size (\d{1,20})"
)
_REST: Final = re.compile(r"received (\d{1,20}) bytes, expected (\d{1,20})")
_BROKEN: Final = ("ReadError", "RemoteProtocolError")
"""Errors of the client's HTTP library where an answer ends early."""
_SAID: Final[Sequence[tuple[type[BaseException], str]]] = (
    (OfflineModeIsEnabled, "is not fetched while HF_HUB_OFFLINE is set"),
    (
        GatedRepoError,
        "is gated: accept its terms at {endpoint}/{id}, and set HF_TOKEN to a token of that "
        "account",
    ),
    (RevisionNotFoundError, "has no revision {revision!r}; look it up at {endpoint}/{id}"),
    (RemoteEntryNotFoundError, "is listed, and is not at {endpoint} (404); try again"),
    (
        FileMetadataError,
        "{endpoint} answers without the checksum and commit that a hub gives of a file; check "
        "ml.endpoint, and whether a proxy answers instead",
    ),
    (
        RepositoryNotFoundError,
        "is not at {endpoint}, or is private; check the name, or set HF_TOKEN to a token that may "
        "read it",
    ),
)


def _status(status: int, asked: Asked) -> str:
    if status in (401, 403):
        return (
            f"{asked.endpoint} refuses it ({status}); check the name, and set HF_TOKEN to a token "
            "that may read it"
        )
    if status == 404:
        return f"is not at {asked.endpoint} (404); check the name and ml.endpoint"
    return f"{asked.endpoint} answers {status}; try again later, or use a mirror as ml.endpoint"


def _parts(asked: Asked) -> Mapping[str, str]:
    return {"id": asked.id, "endpoint": asked.endpoint, "revision": asked.revision}


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Yield an error and what caused it."""
    for _ in range(10):
        if error is None:
            return
        yield error
        error = error.__cause__ or error.__context__


def main() -> None:
    """Read what is asked on standard input, write what came of it on standard output."""
    asked = Asked(**json.loads(sys.stdin.readline()))
    most = _most_bytes()
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))  # whatever the hub announces
    signal.alarm(math.ceil(asked.seconds) + 1)  # whoever started this may be gone
    try:
        said = download(asked)
    except CannotFetch as error:
        said = {"error": str(error)}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
