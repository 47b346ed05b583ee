"""Gets one model from a hub. Run as a program of its own, by ``hubfetch``.

What the hub's client library reads from its environment at import is given to this program, not to
the gateway; what hangs in it is ended with it.
"""

import errno
import hashlib
import json
import math
import os
import resource
import shutil
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from huggingface_hub import HfApi, hf_hub_download
from huggingface_hub.errors import (
    EntryNotFoundError,
    GatedRepoError,
    HfHubHTTPError,
    OfflineModeIsEnabled,
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
    token = os.environ.get(TOKEN) or False
    limit = min(REQUEST_SECONDS, asked.seconds)
    info = HfApi(endpoint=asked.endpoint, token=token).model_info(
        asked.id, revision=asked.revision, files_metadata=True, timeout=limit
    )
    commit = info.sha or ""
    pinned = COMMIT.fullmatch(asked.revision) is not None
    if not COMMIT.fullmatch(commit) or (pinned and commit != asked.revision):
        raise CannotFetch(
            f"{asked.id}: {asked.endpoint} has commit {commit[:40] or 'unknown'} where "
            f"{asked.revision} was asked for; check ml.endpoint"
        )
    there = {one.rfilename: one for one in info.siblings or ()}
    names = _wanted(asked, there)
    if set(names) <= set(asked.known.get(commit, ())):
        return {"commit": commit, "files": {}}
    _room(asked, sum(there[name].size or 0 for name in names))
    files = {}
    for name in names:
        hf_hub_download(
            asked.id,
            name,
            revision=commit,
            endpoint=asked.endpoint,
            token=token,
            local_dir=asked.folder,
            etag_timeout=limit,
        )
        files[name] = _checked(asked, Path(asked.folder) / name, there[name])
    return {"commit": commit, "files": files}


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


def _room(asked: Asked, size: int) -> None:
    if size > MAX_BYTES:
        raise CannotFetch(
            f"{asked.id}: is {size / 1e9:.1f} GB, at most {MAX_BYTES / 1e9:.1f} GB are fetched; "
            "name a smaller file (onnx/model_quantized.onnx) with --file"
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
            f"hub says {wanted[:12]}… and {told.size}; nothing of it is kept: try again, and if it "
            "stays so, ask who runs the hub or the proxy on the way"
        )
    return seal


def _why(error: BaseException, asked: Asked) -> str:
    """Say what went wrong in words of ours: those of the client have addresses and ids in them."""
    chain = list(_chain(error))
    for one in chain:
        if isinstance(one, OSError) and one.errno in (errno.ENOSPC, errno.EDQUOT):
            place = Path(asked.folder).parent
            return f"no space is left in {place}; make room, or choose another ml.cache_dir"
    for fault, said in _SAID:
        if any(isinstance(one, fault) for one in chain):
            return said.format(**_parts(asked))
    for one in chain:
        if isinstance(one, HfHubHTTPError):
            return _status(one.response.status_code, asked)
    if any("Consistency check failed" in str(one) for one in chain):
        return "a file came cut short; nothing of it is kept: try again"
    if isinstance(error, OSError) and error.errno is not None and error.filename:
        return f"{error.filename}: {error.strerror}"
    kind = type(chain[-1]).__name__
    return (
        f"{asked.endpoint} cannot be reached ({kind}); check the network, HTTPS_PROXY and "
        "ml.endpoint, or copy the model's folder from a machine that has it"
    )


_SAID: Final[Sequence[tuple[type[BaseException], str]]] = (
    (OfflineModeIsEnabled, "is not fetched while HF_HUB_OFFLINE is set"),
    (
        GatedRepoError,
        "is gated: accept its terms at {endpoint}/{id}, and set HF_TOKEN to a token of that "
        "account",
    ),
    (RevisionNotFoundError, "has no revision {revision!r}; look it up at {endpoint}/{id}"),
    (EntryNotFoundError, "lost a file while it was fetched; try again"),
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
    resource.setrlimit(resource.RLIMIT_FSIZE, (MAX_BYTES, MAX_BYTES))  # whatever the hub announces
    signal.alarm(math.ceil(asked.seconds) + 1)  # whoever started this may be gone
    try:
        said = download(asked)
    except CannotFetch as error:
        said = {"error": str(error)}
    sys.stdout.write(json.dumps(said) + "\n")


if __name__ == "__main__":
    main()
