"""Where fetched models lie, and the check that they are still what was fetched.

``ROOT/owner--name/COMMIT/`` has the files of one commit as the hub has them, and ``fetched.json``
with the SHA-256 of each; ``ROOT/owner--name/pins.json`` says which commit a branch or tag stands
for. A folder is there whole or not at all, and can be copied to a machine without a network.
"""

import json
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from llmtrace.analyzers.model.hubrepository import CONFIG, NETWORKS, HubSpec, sha256
from llmtrace.analyzers.model.manifest import TOKENIZER, BadModel

FETCHED: Final = "fetched.json"
PINS: Final = "pins.json"
COMMIT: Final = re.compile(r"[0-9a-f]{40}")
MAX_RECORD_BYTES: Final = 1 << 20


class NotFetched(BadModel):
    """A model is not in the cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fetched:
    """A model in the cache: where, of which commit, and the SHA-256 of its files by name."""

    id: str
    commit: str
    folder: Path
    files: Mapping[str, str]


class HubCache:
    """The fetched models under one folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def home(self, name: str) -> Path:
        """Return the folder of a repository, ``owner/name``."""
        return self.root / name.replace("/", "--")

    def find(self, spec: HubSpec) -> Fetched:
        """Return a model that was fetched, without looking into its files.

        Raises:
            NotFetched: It was not, or without the file that is asked for.
            BadModel: What is written of it cannot be read.
        """
        commit = self._commit(spec)
        if commit is None or not (self.home(spec.id) / commit / FETCHED).is_file():
            raise NotFetched(
                f"{spec.id}: revision {spec.revision!r} is not in {self.root}; run "
                f"'llmtrace models fetch {spec.id}{_revision(spec)}' where the hub can be reached"
            )
        found = self._read(spec.id, commit)
        if spec.file is not None and spec.file not in found.files:
            raise NotFetched(
                f"{found.folder / spec.file}: was not fetched; run 'llmtrace models fetch {spec.id}"
                f"{_revision(spec)} --file {spec.file}'"
            )
        return found

    def check(self, fetched: Fetched, spec: HubSpec) -> None:
        """Read the files that a model needs, and check that none of them has changed.

        Raises:
            BadModel: One has, or is missing.
        """
        for name in _needed(fetched, spec):
            found = sha256(fetched.folder / name)
            if found != fetched.files[name]:
                raise BadModel(
                    f"{fetched.folder / name}: its SHA-256 is {found[:12]}…, when it was fetched "
                    f"it was {fetched.files[name][:12]}…; the file was changed or cut short: run "
                    f"'llmtrace models fetch {spec.id}{_revision(spec)}' to get it anew"
                )

    def keep(self, fetched: Fetched, revision: str, *, endpoint: str, at: str) -> None:
        """Note that a model was fetched, and which commit ``revision`` stands for from now on.

        Raises:
            OSError: It cannot be written.
        """
        record = {
            "id": fetched.id,
            "commit": fetched.commit,
            "files": {**self._known(fetched), **fetched.files},
            "endpoint": endpoint,
            "fetched_at": at,
        }
        _write(fetched.folder / FETCHED, record)
        pins = self.home(fetched.id) / PINS
        _write(pins, {**_pins(pins), revision: fetched.commit})

    def all(self) -> Iterator[Fetched]:
        """Yield the models that lie here; what cannot be read is left out."""
        for record in sorted(self.root.glob(f"*--*/*/{FETCHED}")):
            try:
                name = record.parent.parent.name.replace("--", "/", 1)
                yield self._read(name, record.parent.name)
            except BadModel:
                continue

    def _commit(self, spec: HubSpec) -> str | None:
        if COMMIT.fullmatch(spec.revision):
            return spec.revision
        found = _pins(self.home(spec.id) / PINS).get(spec.revision)
        return found if found is not None and COMMIT.fullmatch(found) else None

    def _known(self, fetched: Fetched) -> Mapping[str, str]:
        try:
            return self._read(fetched.id, fetched.commit).files
        except BadModel:
            return {}

    def _read(self, name: str, commit: str) -> Fetched:
        folder = self.home(name) / commit
        said = _object(folder / FETCHED)
        files = said.get("files")
        known = COMMIT.fullmatch(commit) is not None and said.get("commit") == commit
        if not known or not isinstance(files, dict):
            raise BadModel(
                f"{folder / FETCHED}: does not speak of commit {commit[:12]}…; run "
                f"'llmtrace models fetch {name} --revision {commit}' to get it anew"
            )
        return Fetched(
            id=name, commit=commit, folder=folder, files={str(k): str(v) for k, v in files.items()}
        )


def _needed(fetched: Fetched, spec: HubSpec) -> list[str]:
    """Return the files that are read: weights that lie beside the network are among them."""
    others = [name for name in fetched.files if not name.endswith(".onnx")]
    found = [name for name in ([spec.file] if spec.file else NETWORKS) if name in fetched.files]
    missing = [name for name in (CONFIG, TOKENIZER) if name not in fetched.files]
    if missing or not found:
        raise BadModel(
            f"{fetched.folder / FETCHED}: has no {', '.join(missing) or 'ONNX file'}; run "
            f"'llmtrace models fetch {spec.id}{_revision(spec)}' to get it anew"
        )
    return [*others, found[0]]


def _revision(spec: HubSpec) -> str:
    return "" if spec.revision == "main" else f" --revision {spec.revision}"


def _pins(path: Path) -> Mapping[str, str]:
    try:
        return {str(name): str(commit) for name, commit in _object(path).items()}
    except BadModel:
        return {}


def _object(path: Path) -> Mapping[str, Any]:
    try:
        with path.open("rb") as file:
            said = json.loads(file.read(MAX_RECORD_BYTES))
    except OSError as error:
        raise BadModel(f"{path}: {error.strerror}; fetch the model again") from error
    except (ValueError, RecursionError) as error:
        raise BadModel(f"{path}: is no JSON; fetch the model again") from error
    if not isinstance(said, dict):
        raise BadModel(f"{path}: expected an object; fetch the model again")
    return said


def _write(path: Path, said: Mapping[str, object]) -> None:
    """Write a file that is there whole or as before."""
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    try:
        temporary.write_text(json.dumps(said, indent=1) + "\n")
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
